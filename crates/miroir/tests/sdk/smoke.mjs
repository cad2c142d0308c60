// The life of an index through the official JavaScript client. Argument: the endpoint.

import assert from "node:assert/strict";
import * as packaged from "meilisearch";

// The class has been spelt in two ways.
const Client = packaged.Meilisearch ?? packaged.MeiliSearch;
const client = new Client({ host: process.argv[2] });

/** Waits for a task and insists on its success. */
async function done(enqueued) {
  const task = await enqueued.waitTask({ timeout: 60_000 });
  assert.equal(task.status, "succeeded", JSON.stringify(task));
  return task;
}

const ids = (found) => found.hits.map((hit) => hit.id);

assert.equal((await client.health()).status, "available");
await done(client.createIndex("films", { primaryKey: "id" }));
const films = client.index("films");
assert.equal((await films.getRawInfo()).primaryKey, "id");

await done(
  films.updateSettings({
    rankingRules: ["words", "typo", "proximity", "attribute", "sort", "exactness"],
    searchableAttributes: ["title"],
    filterableAttributes: ["genre", "year"],
    sortableAttributes: ["year"],
  }),
);
const settings = await films.getSettings();
assert.deepEqual(settings.searchableAttributes, ["title"]);
assert.deepEqual([...settings.filterableAttributes].sort(), ["genre", "year"]);

await done(
  films.addDocuments([
    { id: 1, title: "The Third Man", genre: "noir", year: 1949 },
    { id: 2, title: "Man with a Movie Camera", genre: "silent", year: 1929 },
    { id: 3, title: "Out of the Past", genre: "noir", year: 1947 },
    { id: 4, title: "Metropolis", genre: "silent", year: 1927 },
  ]),
);

assert.deepEqual(ids(await films.search("man")).sort(), [1, 2]);
assert.deepEqual(ids(await films.search("metroplis")), [4]);
const found = await films.search("", {
  sort: ["year:asc"],
  filter: "genre = noir",
  facets: ["genre"],
});
assert.deepEqual(ids(found), [3, 1]);
assert.deepEqual(found.facetDistribution, { genre: { noir: 2 } });
const page = await films.search("", { hitsPerPage: 3, page: 2, sort: ["year:desc"] });
assert.equal(page.totalHits, 4);
assert.deepEqual(ids(page), [4]);
assert.deepEqual(ids(await films.searchGet("man", { filter: "year < 1940" })), [2]);
const [shown] = (await films.search("third", { attributesToHighlight: ["title"] })).hits;
assert.equal(shown._formatted.title, "The <em>Third</em> Man");

await done(films.updateDocuments([{ id: 4, year: 2026 }]));
assert.deepEqual(await films.getDocument(4), {
  id: 4,
  title: "Metropolis",
  genre: "silent",
  year: 2026,
});
assert.equal((await films.getDocuments({ limit: 2 })).total, 4);
assert.equal((await films.getStats()).numberOfDocuments, 4);

await done(films.deleteDocument(1));
await done(films.deleteDocuments({ filter: "genre = silent" }));
assert.deepEqual(ids(await films.search("")), [3]);
await assert.rejects(films.getDocument(1), (error) => error.cause?.code === "document_not_found");

const tasks = await client.tasks.getTasks({ indexUids: ["films"], statuses: ["succeeded"] });
assert.equal(tasks.total, 6);
await done(client.deleteIndex("films"));
assert.equal((await client.getIndexes()).total, 0);
console.log("all well");
