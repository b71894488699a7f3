// Numbers, times and words as the page shows them.

const whole = new Intl.NumberFormat("en");

export const STATES = {
  connecting: "Connecting", live: "Live", stalled: "Stalled", reconnecting: "Reconnecting", paused: "Paused",
  ended: "Ended", added: "Added", removed: "Removed",
};

export const count = (value) => whole.format(value);
export const fps = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

/** Milliseconds with two or three digits. */
export function milliseconds(value) {
  if (value == null) return "–";
  if (value >= 10000) return `${(value / 1000).toFixed(0)} s`;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** Time of the day of Unix seconds. */
export const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB");

/** Sentence about the next attempt to connect, at Unix seconds on the clock of the server. */
export function nextAttempt(at, now) {
  if (at == null) return "";
  const left = Math.ceil(at - now);
  return left > 0 ? `Next attempt in ${left} s` : "Trying again";
}

const ICONS = {
  pause: '<path d="M8 5v14M16 5v14"/>',
  resume: '<path d="M8 5l11 7-11 7z"/>',
  remove: '<path d="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13"/>',
  enlarge: '<path d="M14 4h6v6M10 20H4v-6M20 4l-7 7M4 20l7-7"/>',
  shrink: '<path d="M20 10h-6V4M4 14h6v6M14 10l6-6M10 14l-6 6"/>',
  auto: '<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 0 0 16z" fill="currentColor"/>',
  light: '<circle cx="12" cy="12" r="4"/><path d="M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M5 19l1.500-1.500M17.500 6.500L19 5"/>',
  dark: '<path d="M20 14A8 8 0 1 1 10 4a6.500 6.500 0 0 0 10 10z"/>',
};

/** Give a button an icon and the text that says what it does. */
export function dress(button, icon, text) {
  if (button.dataset.icon === icon && button.title === text) return;
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${ICONS[icon]}</svg>`;
  button.dataset.icon = icon;
  button.title = text;
  button.setAttribute("aria-label", text);
}
