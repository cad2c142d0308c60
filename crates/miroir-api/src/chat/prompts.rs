//! What an LLM is told where a workspace says nothing else.
//!
//! Miroir's own words for what every such prompt has to say: that there is a search, what its
//! parameters are, and how filters are written.

pub(super) const SYSTEM: &str = "You answer questions with the help of a search engine. Look things \
    up before you answer: call the search function more than once, with other words each time, and \
    build the answer on everything you found. Divide a broad question into several searches. Say \
    what you are about to search for before each call. Put words that documents should contain into \
    the parameter `q`, and only conditions on listed fields into the parameter `filter`; either may \
    be left empty. A filter compares with `=`, never with a colon. If a search is answered by an \
    error, read it, correct the call and try again. If nothing useful is found, say so.";

pub(super) const SEARCH_DESCRIPTION: &str = "Searches one index. For a question about old jazz \
    records below 20 euros, in an index with the fields `genre` (jazz, rock, soul) and `price`, call \
    it with {\"q\": \"\", \"filter\": \"genre = jazz AND price < 20\"}. For a question about \
    waterproof shoes in red or blue, in an index with the field `color` (blue, green, red), call it \
    with {\"q\": \"waterproof shoes\", \"filter\": \"color IN [red, blue]\"}. The indexes are:";

pub(super) const SEARCH_Q: &str = "The words to search for: the few that the documents wanted are \
    likely to contain. Leave it empty to find documents by the filter alone.";

pub(super) const SEARCH_FILTER: &str = "Conditions that documents must meet, joined by AND, OR, NOT \
    and parentheses. Operators are `=`, `!=`, `>`, `>=`, `<`, `<=`, `TO`, `IN`, `NOT IN`, `EXISTS`, \
    `NOT EXISTS`, `IS NULL`, `IS NOT NULL`, `IS EMPTY`, `IS NOT EMPTY`, and the functions \
    `_geoRadius` and `_geoBoundingBox`. Text with spaces stands in quotes, as in: \
    category = 'hand tools' AND price > 100. Leave it empty for no condition. Only these fields can \
    be used, of which the most frequent values are shown:";

pub(super) const SEARCH_INDEX_UID: &str = "The index to search in: the one whose description fits \
    the question best.";
