"""The life of an index through the official Python client. Argument: the endpoint."""

import sys

import meilisearch

client = meilisearch.Client(sys.argv[1])


def done(task):
    """Waits for a task and insists on its success."""
    ended = client.wait_for_task(task.task_uid, timeout_in_ms=60_000)
    assert ended.status == "succeeded", ended
    return ended


assert client.health()["status"] == "available"
assert client.get_version()["pkgVersion"]

done(client.create_index("films", {"primaryKey": "id"}))
films = client.index("films")
assert films.fetch_info().primary_key == "id"

done(
    films.update_settings(
        {
            "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
            "searchableAttributes": ["title"],
            "filterableAttributes": ["genre", "year"],
            "sortableAttributes": ["year"],
        }
    )
)
settings = films.get_settings()
assert settings["searchableAttributes"] == ["title"], settings
assert sorted(settings["filterableAttributes"]) == ["genre", "year"], settings

done(
    films.add_documents(
        [
            {"id": 1, "title": "The Third Man", "genre": "noir", "year": 1949},
            {"id": 2, "title": "Man with a Movie Camera", "genre": "silent", "year": 1929},
            {"id": 3, "title": "Out of the Past", "genre": "noir", "year": 1947},
            {"id": 4, "title": "Metropolis", "genre": "silent", "year": 1927},
        ]
    )
)

assert {hit["id"] for hit in films.search("man")["hits"]} == {1, 2}
assert [hit["id"] for hit in films.search("metroplis")["hits"]] == [4]
found = films.search("", {"sort": ["year:asc"], "filter": "genre = noir", "facets": ["genre"]})
assert [hit["id"] for hit in found["hits"]] == [3, 1], found
assert found["facetDistribution"] == {"genre": {"noir": 2}}, found
page = films.search("", {"hitsPerPage": 3, "page": 2, "sort": ["year:desc"]})
assert page["totalHits"] == 4 and [hit["id"] for hit in page["hits"]] == [4], page
shown = films.search("third", {"attributesToHighlight": ["title"]})["hits"][0]["_formatted"]
assert shown["title"] == "The <em>Third</em> Man", shown

done(films.update_documents([{"id": 4, "year": 2026}]))
assert films.get_document(4).title == "Metropolis"
assert films.get_document(4).year == 2026
assert films.get_documents({"limit": 2}).total == 4
assert films.get_stats().number_of_documents == 4

done(films.delete_document(1))
done(films.delete_documents(filter="genre = silent"))
assert [hit["id"] for hit in films.search("")["hits"]] == [3]
try:
    films.get_document(1)
    raise AssertionError("a deleted document is still there")
except meilisearch.errors.MeilisearchApiError as error:
    assert error.code == "document_not_found", error

assert client.get_tasks({"indexUids": ["films"], "statuses": ["succeeded"]}).total == 6
done(client.delete_index("films"))
assert client.get_indexes()["total"] == 0
print("all well")
