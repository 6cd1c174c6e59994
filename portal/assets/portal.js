// Improvements of the pages, which work without this script too. It never puts
// text together as HTML, and requests only the pages' own addresses.
"use strict";

(() => {
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const announce = (text) => {
    const region = byId("announce");
    if (region) region.textContent = text;
  };

  // ---- focus on errors and news ----
  byId("main")?.querySelector("[data-focus]")?.focus();

  // ---- a page that answers a form gets an address of its own for reloads,
  // since a reload must not repeat the change ----
  const settle = document.querySelector("[data-settle]");
  if (settle) {
    // Relative links would have another base there.
    for (const [name, of] of [["href", "a[href], link[href]"], ["action", "form[action]"]]) {
      $$(of).forEach((el) => { if (!el.getAttribute(name).startsWith("#")) el.setAttribute(name, el[name]); });
    }
    history.replaceState(null, "", settle.dataset.settle);
  }

  // ---- copying ----
  const wireCopy = (root) => $$("[data-copy]", root).forEach((button) => { button.hidden = false; });
  const copy = async (button) => {
    const source = byId(button.dataset.copy);
    if (!source) return;
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without a secure context there is no clipboard: select the text for the visitor.
      if (source.select) source.select();
      else getSelection().selectAllChildren(source);
      try { document.execCommand("copy"); } catch { announce("Selected. Copy it with the keyboard."); return; }
    }
    announce("Copied.");
    const label = button.querySelector(".copy-text");
    button.classList.add("copied");
    const before = label?.textContent;
    if (label && before !== "Copied") label.textContent = "Copied";
    setTimeout(() => {
      button.classList.remove("copied");
      if (label && before !== "Copied") label.textContent = before;
    }, 1600);
  };

  // ---- times ----
  const units = [[60, 1, " s"], [3600, 60, " min"], [172800, 3600, " h"], [Infinity, 86400, " days"]];
  const relative = (ms) => {
    const s = Math.abs(ms) / 1000;
    if (s < 1) return "just now";
    const [, per, unit] = units.find(([below]) => s < below);
    const text = Math.floor(s / per) + unit;
    return ms > 0 ? "in " + text : text + " ago";
  };
  let skew = 0; // difference of this clock to the server's, learned from answers
  const tellTimes = (root = document) => $$("time[data-rel]", root).forEach((t) => {
    const text = relative(Date.parse(t.dateTime) - Date.now() - skew);
    if (t.textContent !== text) t.textContent = text;
  });
  const localTitles = (root = document) => $$("time[data-rel]", root).forEach((t) => {
    const at = new Date(t.dateTime);
    if (!Number.isNaN(at.getTime())) t.title = at.toLocaleString() + " · " + t.dateTime.replace("T", " ").replace("Z", " UTC");
  });

  // ---- charts: show the slot under the pointer above the chart ----
  document.addEventListener("pointerover", (event) => {
    const hit = event.target.closest?.(".hit");
    const readout = hit?.closest("figure")?.querySelector("[data-readout]");
    if (!readout) return;
    readout.before ||= [...readout.childNodes];
    readout.textContent = hit.dataset.tip;
  });
  document.addEventListener("pointerout", (event) => {
    const readout = event.target.closest?.(".hit")?.closest("figure")?.querySelector("[data-readout]");
    if (readout?.before) readout.replaceChildren(...readout.before);
  });

  // ---- forms ----
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.dataset.copy) return void copy(button);
    if ("addHeader" in button.dataset) {
      const row = byId("header-template")?.content.cloneNode(true);
      const rows = byId("header-rows");
      if (!row || !rows) return;
      event.preventDefault();
      const n = rows.children.length;
      $$("input", row).forEach((input) => {
        input.name = input.name.replace(/\d+$/, n);
        input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/\d+/, n + 1));
      });
      rows.append(row);
      rows.lastElementChild.querySelector("input").focus();
    }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!("once" in form.dataset)) return;
    if (form.dataset.sent) return void event.preventDefault();
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => $$("form[data-once]").forEach((form) => { // also after going back
    delete form.dataset.sent;
    $$("[aria-busy]", form).forEach((button) => button.removeAttribute("aria-busy"));
  }));

  // ---- replay: start the next step ----
  const step = byId("next-step");
  if (step) setTimeout(() => { if (step.isConnected && !step.dataset.stopped) step.requestSubmit(); }, 250 + 1000 * Number(step.dataset.auto || 0));

  // ---- live: fetch the changing parts of a page again and replace them ----
  const main = byId("main");
  let every = Number(main?.dataset.every);
  const toggle = byId("live-switch");
  if (every > 0 && toggle) {
    const button = toggle.querySelector("button");
    const text = toggle.querySelector(".live-text");
    const last = new Map();
    let timer, failures = 0, asked, busy = false;
    toggle.hidden = false;

    const running = () => button.getAttribute("aria-pressed") === "true";
    const schedule = () => {
      clearTimeout(timer);
      if (running() && !document.hidden) timer = setTimeout(look, Math.min(every * 2 ** failures, 60000));
    };
    const stop = (why) => {
      button.setAttribute("aria-pressed", "false");
      text.textContent = "Paused";
      if (why) announce(why);
      clearTimeout(timer);
      asked?.abort();
      busy = false;
    };
    button.addEventListener("click", () => {
      if (running()) return stop("Live updates are paused.");
      button.setAttribute("aria-pressed", "true");
      text.textContent = "Live";
      announce("Live updates are on.");
      failures = 0;
      look();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) clearTimeout(timer);
      else if (running()) look();
    });

    const look = () => {
      if (busy) return;
      busy = true;
      const url = new URL(location.href);
      url.searchParams.delete("done");
      url.searchParams.set("live", "1");
      url.hash = "";
      asked = new XMLHttpRequest(); // parses without running scripts, unlike an HTML sink
      asked.open("GET", url.href);
      asked.responseType = "document";
      asked.timeout = 20000;
      asked.onload = () => {
        busy = false;
        if ([401, 403, 404].includes(asked.status)) return stop("Live updates have ended. Load the page again.");
        const date = Date.parse(asked.getResponseHeader("Date") ?? "");
        if (!Number.isNaN(date) && Math.abs(date - Date.now()) > 5000) skew = date - Date.now();
        if (asked.status === 200 && asked.response?.body) {
          failures = 0;
          every = Number(asked.response.body.dataset.every) || every;
          exchange(asked.response);
        } else failures++;
        schedule();
      };
      asked.onerror = asked.ontimeout = () => { busy = false; failures++; schedule(); };
      asked.send();
    };

    const exchange = (doc) => {
      const selected = getSelection();
      let fresh = 0;
      for (const next of $$("[data-live][id]", doc)) {
        const now = byId(next.id);
        if (!now || last.get(next.id) === next.outerHTML) continue;
        if (!selected.isCollapsed && now.contains(selected.anchorNode)) continue; // the visitor is copying from it
        if (now.querySelector(":hover.hit")) continue; // the visitor is reading the chart
        last.set(next.id, next.outerHTML);
        const node = document.importNode(next, true);
        const known = new Set($$("[data-row]", now).map((row) => row.id));
        const open = new Map($$("details[id]", now).map((d) => [d.id, d.open]));
        const newest = $$("details[id]", now)[0]?.id;
        const focus = now.contains(document.activeElement) ? document.activeElement.id : "";
        $$("details[id]", node).forEach((d) => { if (open.has(d.id) && d.id !== newest || open.get(d.id)) d.open = open.get(d.id); });
        if (known.size || now.id === "runs") $$("[data-row]", node).forEach((row) => {
          if (!known.has(row.id)) { row.classList.add("fresh"); fresh++; }
        });
        now.replaceWith(node);
        wireCopy(node);
        localTitles(node);
        if (focus) byId(focus)?.focus({ preventScroll: true });
      }
      tellTimes();
      if (fresh > 0) announce(fresh === 1 ? "One new delivery." : fresh + " new deliveries.");
      const state = byId("run-state")?.textContent;
      if (state && state !== said) announce("Delivery: " + state + ".");
      said = state;
    };
    let said = byId("run-state")?.textContent;
    schedule();
  }

  wireCopy(document);
  localTitles();
  setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);
})();
