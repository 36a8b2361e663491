// What the page does beyond its first view: looks again, searches while one types, keys. It asks the
// server for the same page and puts it in place of the old one; it makes no HTML of its own.
"use strict";

(() => {
  // Between two looks at least, and so many times as long as a look takes: at most 2 % of a CPU.
  const SHORTEST = 5000;
  const SHARE = 50;
  // After the last letter.
  const TYPED = 250;

  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  const help = document.getElementById("help");
  let paused = false;
  let timer = 0;
  let asked = 0;

  const view = () => document.getElementById("view");
  const search = () => document.getElementById("q");
  const rows = () => [...document.querySelectorAll(".services > tbody > tr > td > details > summary")];

  // What is open, focused and selected stays so.
  function replace(fresh) {
    const open = new Set([...view().querySelectorAll("details[open]")].map((d) => d.dataset.id));
    const focused = document.activeElement;
    const row = focused && focused.tagName === "SUMMARY" ? focused.parentElement.dataset.id : null;
    const typing = focused === search() ? focused : null;
    for (const details of fresh.querySelectorAll("details")) {
      details.open = open.has(details.dataset.id);
    }
    if (typing) fresh.querySelector("#q").value = typing.value;
    const at = typing ? [typing.selectionStart, typing.selectionEnd] : null;
    view().replaceWith(fresh);
    if (typing) {
      search().focus({ preventScroll: true });
      search().setSelectionRange(...at);
    } else if (row) {
      const same = rows().find((s) => s.parentElement.dataset.id === row);
      if (same) same.focus({ preventScroll: true });
    }
  }

  async function look() {
    clearTimeout(timer);
    const mine = ++asked;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const text = await answer.text();
      // A later question is under way.
      if (mine !== asked) return;
      const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("view");
      replace(document.adoptNode(fresh));
      state.textContent = `as of ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      if (mine !== asked) return;
      state.textContent = `no answer since ${new Date().toLocaleTimeString()} (${error.message})`;
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    if (paused || document.hidden) return;
    const took = Number(view().dataset.took) || 0;
    timer = setTimeout(look, Math.max(SHORTEST, SHARE * took));
  }

  function setPaused(now) {
    paused = now;
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) clearTimeout(timer);
    else look();
  }

  function go(link) {
    if (link) link.click();
  }

  function move(by) {
    const all = rows();
    const at = all.indexOf(document.activeElement);
    const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  }

  let typed = 0;
  document.addEventListener("input", (event) => {
    if (event.target !== search()) return;
    clearTimeout(typed);
    typed = setTimeout(() => {
      const to = new URL(location.href);
      to.searchParams.set("q", search().value);
      to.searchParams.delete("page");
      to.searchParams.delete("only");
      history.replaceState(null, "", to);
      look();
    }, TYPED);
  });

  const keys = {
    "/": () => {
      search().focus();
      search().select();
    },
    j: () => move(1),
    k: () => move(-1),
    n: () => go(document.querySelector("a[rel=next]")),
    p: () => go(document.querySelector("a[rel=prev]")),
    r: look,
    l: () => setPaused(!paused),
    "?": () => help.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const target = event.target;
    if (target === search()) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : later()));
  pause.addEventListener("click", () => setPaused(!paused));
  document.getElementById("keys").addEventListener("click", () => help.showModal());
  document.querySelector(".live").hidden = false;
  document.documentElement.dataset.live = "yes";
  later();
})();
