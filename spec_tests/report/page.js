"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const cells = new Map(data.cells.map(c => [[c.claim, c.subject, c.device, c.dtype].join("|"), c]));
const detail = document.getElementById("detail"), content = document.getElementById("content");
let opener = null;

function add(tag, text, kind) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  content.append(element);
}

function section(title, text, tag) {
  if (!text) return;
  add("h4", title);
  add(tag || "p", text);
}

// Formulas and prose of our own claims: MathML made by the report, never what a subject printed.
function rendered(title, markup) {
  if (!markup) return;
  add("h4", title);
  const element = document.createElement("div");
  element.innerHTML = markup;
  content.append(element);
}

function link(text, address) {
  if (!address) return;
  const anchor = document.createElement("a");
  anchor.textContent = text;
  anchor.href = address;
  content.append(anchor);
}

function show(button) {
  const cell = cells.get(button.dataset.key), claim = data.claims[cell.claim];
  opener = button;
  content.replaceChildren();
  add("h3", cell.claim);
  add("p", `${cell.expected ? "expected: " : ""}${cell.verdict}`, button.dataset.kind);
  add("p", `${cell.subject} on ${cell.device} in ${cell.dtype}`);
  section("What was found", cell.message, "pre");
  section("Counterexample", cell.counterexample, "pre");
  section("Expected, because", cell.expected);
  section("Reproduce", cell.reproduce, "pre");
  section("The claim", claim.title);
  rendered("In symbols", claim.statement);
  rendered("Why it is true", claim.why);
  link("Its page in the book", claim.page);
  section("Sources", claim.sources.join("; "));
  section(`The test (${claim.place})`, claim.code, "pre");
  if (cell.headroom !== undefined)
    section("Headroom", `observed / allowed deviation ${Number(cell.headroom).toPrecision(3)}`);
  section("Effort", `${cell.examples || 0} examples in ${cell.seconds || 0} s, seed ${cell.seed}`);
  history.replaceState(null, "", "#" + encodeURIComponent(button.dataset.key));
  detail.hidden = false;
  detail.scrollTop = 0;
  document.getElementById("close").focus();
}

function close() {
  detail.hidden = true;
  history.replaceState(null, "", location.pathname);
  if (opener) opener.focus();
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds = new Set([...document.querySelectorAll("input[name=kind]:checked")].map(i => i.value));
  let any = false;
  for (const part of document.querySelectorAll("section")) {
    let rows = 0;
    for (const row of part.querySelectorAll("tbody tr")) {
      let hits = 0;
      for (const button of row.querySelectorAll("button")) {
        const text = `${button.dataset.key} ${part.dataset.contract}`.toLowerCase();
        const hit = kinds.has(button.dataset.kind) && words.every(word => text.includes(word));
        button.hidden = !hit;
        hits += hit;
      }
      row.hidden = !hits;
      rows += hits > 0;
    }
    part.hidden = !rows;
    any ||= rows > 0;
  }
  document.getElementById("nothing").hidden = any;
}

document.querySelector("main").addEventListener("click", event => {
  const button = event.target.closest("button[data-key]");
  if (button) show(button);
});
document.getElementById("close").addEventListener("click", close);
document.addEventListener("keydown", event => { if (event.key === "Escape") close(); });
document.getElementById("filter").addEventListener("input", filter);
document.querySelector(".totals").addEventListener("change", filter);

// A link to one verdict opens it.
const wanted = decodeURIComponent(location.hash.slice(1));
for (const button of wanted ? document.querySelectorAll("button[data-key]") : [])
  if (button.dataset.key === wanted) show(button);
