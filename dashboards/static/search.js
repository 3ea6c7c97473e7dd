// Searches without loading the page anew. The address stays the state: back, forward and a copied link all work, and
// so does the plain form when this file does not run.

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-search]");
  if (!form) return;
  event.preventDefault();
  const kept = [...new FormData(form)].filter(([, value]) => value !== "");
  go(`${form.getAttribute("action")}?${new URLSearchParams(kept)}`);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("main a.chip, main .pager a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

window.addEventListener("popstate", () => show(location.pathname + location.search));

function go(address) {
  history.pushState(null, "", address);
  show(address);
}

let latest = 0;

async function show(address) {
  const mine = ++latest;
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  let markup;
  try {
    markup = await (await fetch(address, { headers: { Accept: "text/html" } })).text();
  } catch {
    location.assign(address);
    return;
  }
  if (mine !== latest) return;
  const fresh = new DOMParser().parseFromString(markup, "text/html");
  main.replaceChildren(...fresh.getElementById("main").childNodes);
  main.removeAttribute("aria-busy");
  document.title = fresh.title;
  const field = main.querySelector("[data-search] [type=search]");
  field?.focus();
  field?.setSelectionRange(field.value.length, field.value.length);
}
