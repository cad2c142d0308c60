// A person at an InstantSearch page: types, picks a facet, turns the page, sorts. Argument: the
// endpoint.

import assert from "node:assert/strict";
import { JSDOM } from "jsdom";

const page = new JSDOM(
  `<div id="box"></div><div id="genres"></div><div id="years"></div>
   <div id="sort"></div><div id="stats"></div><ol id="hits"></ol><div id="pages"></div>`,
  { url: "http://localhost/" },
);
// InstantSearch speaks to a browser's globals; the network stays Node's own.
globalThis.window = page.window;
globalThis.document = page.window.document;
globalThis.HTMLElement = page.window.HTMLElement;

const { Meilisearch } = await import("meilisearch");
const { instantMeiliSearch } = await import("@meilisearch/instant-meilisearch");
const packaged = await import("instantsearch.js");
// The packages are CommonJS or modules, depending on their version.
const instantsearch = packaged.default?.default ?? packaged.default;
const widgets = await import("instantsearch.js/es/widgets/index.js").catch(
  () => import("instantsearch.js/cjs/widgets/index.js"),
);
const { searchBox, refinementList, numericMenu, sortBy, stats, hits, pagination, configure } =
  widgets.default ?? widgets;

const client = new Meilisearch({ host: process.argv[2] });

/** Waits for a task and insists on its success. */
async function done(enqueued) {
  const task = await enqueued.waitTask({ timeout: 60_000 });
  assert.equal(task.status, "succeeded", JSON.stringify(task));
}

const films = client.index("films");
await done(
  films.updateSettings({
    searchableAttributes: ["title"],
    filterableAttributes: ["genre", "year"],
    sortableAttributes: ["year"],
  }),
);
const genres = ["noir", "silent", "western"];
await done(
  films.addDocuments(
    Array.from({ length: 60 }, (_, id) => ({
      id,
      title: `${id % 4 === 0 ? "Man" : "Woman"} number ${id}`,
      genre: genres[id % 3],
      year: 1920 + id,
    })),
  ),
);

const { searchClient } = instantMeiliSearch(process.argv[2], undefined, { finitePagination: true });
const search = instantsearch({ indexName: "films", searchClient });
const item = (hit, { html, components }) =>
  html`${components.Highlight({ hit, attribute: "title" })} ${hit.year}`;
search.addWidgets([
  configure({ hitsPerPage: 5 }),
  searchBox({ container: "#box" }),
  refinementList({ container: "#genres", attribute: "genre", operator: "or" }),
  numericMenu({
    container: "#years",
    attribute: "year",
    items: [{ label: "all" }, { label: "before 1940", end: 1939 }],
  }),
  sortBy({
    container: "#sort",
    items: [
      { label: "relevance", value: "films" },
      { label: "newest", value: "films:year:desc" },
    ],
  }),
  stats({ container: "#stats" }),
  hits({ container: "#hits", templates: { item } }),
  pagination({ container: "#pages", scrollTo: false }),
]);

/** Does something, and returns once the page has shown what came of it. */
async function shownAfter(action) {
  const shown = new Promise((resolve, reject) => {
    search.once("error", reject);
    search.on("render", function look() {
      // While the answer is under way the page is drawn too.
      if (search.status !== "idle") return;
      search.removeListener("render", look);
      resolve();
    });
  });
  action();
  await shown;
}

const $ = (selector) => [...document.querySelectorAll(selector)];
const texts = (selector) => $(selector).map((node) => node.textContent.replace(/\s+/g, " ").trim());
const facets = () =>
  Object.fromEntries(
    $("#genres li").map((item) => [
      item.querySelector(".ais-RefinementList-labelText").textContent,
      Number(item.querySelector(".ais-RefinementList-count").textContent),
    ]),
  );
const total = () => Number(texts("#stats")[0].match(/[\d,]+/)[0]);

await shownAfter(() => search.start());
assert.equal(total(), 60);
assert.deepEqual(facets(), { noir: 20, silent: 20, western: 20 });
assert.equal($("#hits li").length, 5);

// Types.
await shownAfter(() => {
  const input = document.querySelector("#box input");
  input.value = "man";
  input.dispatchEvent(new page.window.Event("input", { bubbles: true }));
});
assert.equal(total(), 15);
assert.deepEqual(facets(), { noir: 5, silent: 5, western: 5 });
assert.equal($("#hits mark").length, 5, "the word is highlighted in each hit");
assert.equal($("#pages .ais-Pagination-item--page").length, 3);

// Picks a facet; the others keep their counts, because they are joined by OR.
await shownAfter(() => document.querySelector('#genres input[value="noir"]').click());
assert.equal(total(), 5);
assert.deepEqual(facets(), { noir: 5, silent: 5, western: 5 });
await shownAfter(() => document.querySelector('#genres input[value="silent"]').click());
assert.equal(total(), 10);

// Turns the page.
const first = texts("#hits li");
await shownAfter(() => $("#pages .ais-Pagination-item--page a")[1].click());
const second = texts("#hits li");
assert.equal(new Set([...first, ...second]).size, 10, "two pages, no hit twice");

// Sorts.
await shownAfter(() => {
  const select = document.querySelector("#sort select");
  select.value = "films:year:desc";
  select.dispatchEvent(new page.window.Event("change", { bubbles: true }));
});
const years = () => texts("#hits li").map((text) => Number(text.split(" ").at(-1)));
assert.deepEqual(years(), [1972, 1968, 1960, 1956, 1948]);

// A range.
await shownAfter(() => $("#years input")[1].click());
assert.deepEqual(years(), [1936, 1932, 1924, 1920]);

search.dispose();
page.window.close();
console.log("all well");
process.exit(0);
