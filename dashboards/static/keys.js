// Keys: / search, j k move, Enter open, e export, ? help. Each has a visible button, field or link that does the same.

const help = document.getElementById("help");

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) help.showModal();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || help.open) return;
  if (event.target.closest("input, textarea, select")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") focusSearch(event);
  else if (event.key === "?") help.showModal();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "e") document.querySelector("[data-key-export]")?.click();
  else if (event.key === "Enter" && !event.target.closest("a, button, summary")) open();
});

function focusSearch(event) {
  const field = document.querySelector("main [type=search]") ?? document.querySelector("[data-key-search]");
  event.preventDefault();
  field.focus();
  field.select();
}

function rows() {
  return [...document.querySelectorAll("main [data-rows] tbody tr, main [data-panel=payments] tbody tr")];
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const next = all[Math.min(all.length - 1, Math.max(0, now + step))];
  all[now]?.removeAttribute("aria-selected");
  next.setAttribute("aria-selected", "true");
  next.scrollIntoView({ block: "nearest" });
}

function open() {
  document.querySelector('main tr[aria-selected="true"] a')?.click();
}
