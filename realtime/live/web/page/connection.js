// Connection to the server: one WebSocket for everything that the page shows, restored when it is lost.

const SHORTEST = 500, LONGEST = 10000; // milliseconds between two attempts
const QUIET = 5000; // milliseconds without a message after which the connection counts as lost
const decoder = new TextDecoder();

/** Calls `on.state`, `on.hello`, `on.status` and `on.tile` as messages come. */
export class Connection {
  #on; #socket = null; #view = null; #wait = SHORTEST; #silence = 0; #seen = 0; #told = 0;

  constructor(on) {
    this.#on = on;
    this.#open();
    addEventListener("online", () => this.#socket?.close());
  }

  /** Say which sources are shown, how wide, how often, and whether with images. */
  show(view) {
    const text = JSON.stringify({ view });
    if (text !== this.#view) {
      this.#view = text;
      this.#send(text);
    }
  }

  /** Confirm that all tiles up to number `tile` are drawn; the server has only a few under way. */
  seen(tile) {
    this.#seen = Math.max(this.#seen, tile);
    if (this.#seen > this.#told) {
      this.#told = this.#seen;
      this.#send(JSON.stringify({ seen: this.#seen }));
    }
  }

  #send(text) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  #open() {
    const address = new URL("api/tiles", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#seen = this.#told = 0;
    this.#listen();
    socket.onopen = () => {
      if (this.#view) socket.send(this.#view);
    };
    socket.onmessage = ({ data }) => {
      this.#listen();
      if (typeof data !== "string") {
        this.#on.tile(...unpack(data));
        return;
      }
      const message = JSON.parse(data);
      if (message.type === "hello") {
        this.#wait = SHORTEST;
        this.#on.hello(message);
        this.#on.state("open");
      } else {
        this.#on.status(message);
      }
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#silence);
      this.#on.state("lost");
      setTimeout(() => this.#again(), this.#wait * (0.75 + 0.5 * Math.random()));
      this.#wait = Math.min(2 * this.#wait, LONGEST);
    };
  }

  #listen() {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#silence = setTimeout(() => {
      socket.onclose(); // a dead connection takes long to close
      socket.close();
    }, QUIET);
  }

  async #again() {
    try {
      const answer = await fetch("api/sources", { signal: AbortSignal.timeout(QUIET) });
      if (answer.status === 401) location.reload(); // the session has ended: the server answers with the form
    } catch { /* the server is still away */ }
    this.#open();
  }
}

/** Return the header and the image of a tile; no image if none was asked for. */
function unpack(data) {
  const length = new DataView(data).getUint32(0, true);
  const header = JSON.parse(decoder.decode(new Uint8Array(data, 4, length)));
  const image = new Uint8Array(data, 4 + length);
  return [header, image.length ? new Blob([image], { type: "image/jpeg" }) : null];
}

/** Call the control API; return the answer or throw an error with the server's message. */
export async function call(method, path, body) {
  const options = { method, headers: body ? { "content-type": "application/json" } : {} };
  if (body) options.body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server cannot be reached.");
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const { error } = await answer.json().catch(() => ({}));
  throw new Error(error ?? `The server answered ${answer.status}.`);
}
