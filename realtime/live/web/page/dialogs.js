// Dialogs that add and remove sources.

import { call } from "./connection.js";

/** Connect the dialog that adds a source to the buttons that open it. */
export function addDialog(dialog, buttons) {
  const form = dialog.querySelector("form");
  for (const button of buttons) {
    button.onclick = () => {
      form.reset();
      show(dialog);
    };
  }
  submit(dialog, async () => {
    const given = new FormData(form), body = { source: given.get("source").trim() };
    if (given.get("name").trim()) body.name = given.get("name").trim();
    if (given.get("max_fps")) body.max_fps = Number(given.get("max_fps"));
    if (given.get("roi").trim()) body.roi = given.get("roi").split(",").map(Number);
    if (given.get("loop")) body.loop = true;
    await call("POST", "api/sources", body);
  });
}

/** Return a function that asks whether the source `name` is to be removed, and removes it. */
export function removeDialog(dialog) {
  const name = dialog.querySelector("strong");
  submit(dialog, () => call("DELETE", `api/sources/${encodeURIComponent(name.textContent)}`));
  return (source) => {
    name.textContent = source;
    show(dialog);
  };
}

function show(dialog) {
  dialog.querySelector(".error").hidden = true;
  dialog.showModal();
}

function submit(dialog, action) {
  const form = dialog.querySelector("form"), error = dialog.querySelector(".error");
  dialog.querySelector("[data-close]").onclick = () => dialog.close();
  form.onsubmit = async (event) => {
    event.preventDefault();
    const button = form.querySelector('[type="submit"]');
    button.disabled = true;
    try {
      await action();
      dialog.close();
    } catch (failure) {
      error.textContent = failure.message;
      error.hidden = false;
    } finally {
      button.disabled = false;
    }
  };
}
