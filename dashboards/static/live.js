// <koban-live src>: takes panels from the server as they change and brings the page up to date with as little as
// possible, so that a selection, a focus and a running animation outlive it.

// A few new rows are pointed out; when everything is new, pointing at everything would only flicker.
const ARRIVALS_SHOWN_MAX = 4;

// A browser tries again by itself when a stream breaks, but not when the server had no room for it.
const RETRY_MS = 5_000;

class KobanLive extends HTMLElement {
  connectedCallback() {
    // Nobody looks at a page in the background, and a browser opens only six streams to one host.
    this.looked = () => (document.hidden ? this.close() : this.open());
    document.addEventListener("visibilitychange", this.looked);
    this.open();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.looked);
    this.close();
  }

  close() {
    clearTimeout(this.retry);
    this.source?.close();
  }

  open() {
    this.close();
    this.source = new EventSource(this.getAttribute("src"));
    this.source.onmessage = (message) => this.show(JSON.parse(message.data));
    this.source.onopen = () => this.lost(false);
    this.source.onerror = () => {
      this.lost(true);
      if (this.source.readyState === EventSource.CLOSED) this.retry = setTimeout(() => this.open(), RETRY_MS * (1 + Math.random()));
    };
  }

  show(panels) {
    for (const [name, markup] of Object.entries(panels)) {
      const panel = this.querySelector(`[data-panel="${CSS.escape(name)}"]`);
      if (!panel) continue;
      const fresh = document.createElement("template");
      fresh.innerHTML = markup;
      for (const known of panel.querySelectorAll("[data-new]")) known.removeAttribute("data-new");
      morph(panel, fresh.content);
      const arrived = panel.querySelectorAll("[data-new]");
      if (arrived.length > ARRIVALS_SHOWN_MAX) for (const row of arrived) row.removeAttribute("data-new");
    }
    this.dataset.begun = "";
  }

  lost(yes) {
    this.querySelector("[data-lost]").hidden = !yes;
    this.toggleAttribute("data-lost", yes);
  }
}

// What the page itself puts on elements: the server does not know of it.
const KEPT = new Set(["data-new", "aria-selected"]);

function morph(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = wanted.dataset?.key;
    const known = key ? keyed.get(key) : at && !at.dataset?.key && same(at, wanted) ? at : null;
    if (!known) {
      if (key) wanted.dataset.new = "";
      old.insertBefore(wanted, at);
      continue;
    }
    if (known === at) at = at.nextSibling;
    else old.insertBefore(known, at);
    update(known, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName;
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!KEPT.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  morph(old, fresh);
}

customElements.define("koban-live", KobanLive);
