//! A few searches over the cities, each printed with the request that anybody can repeat.

use super::INDEX;
use crate::client::HttpClient;
use crate::screen;
use http::Method;
use serde_json::{Value, json};

/// One search of the tour.
struct Stop {
    title: &'static str,
    request: Value,
    view: View,
}

/// How its answer is shown.
enum View {
    /// The hits: name, country, population.
    Hits,
    /// The hits with their distance.
    Distance,
    /// The counts of one facet.
    Facet(&'static str),
}

/// Runs and prints the searches.
pub(super) async fn run(client: &HttpClient) -> anyhow::Result<()> {
    for stop in stops() {
        let path = format!("/indexes/{INDEX}/search");
        let answer = client.send_json(Method::POST, &path, &stop.request).await?;
        screen::say(show(&stop, &answer));
    }
    screen::say(format_args!(
        "\nRepeat any of them:\n  curl {}/indexes/{INDEX}/search -H 'Content-Type: application/json' \
         -d '{}'",
        client.url(),
        stops()
            .first()
            .map(|stop| stop.request.to_string())
            .unwrap_or_default()
    ));
    Ok(())
}

fn stops() -> Vec<Stop> {
    let shown = json!(["name", "country", "population"]);
    vec![
        Stop {
            title: "A typo",
            request: json!({"q": "reykjavk", "limit": 3, "attributesToRetrieve": shown}),
            view: View::Hits,
        },
        Stop {
            title: "Another script",
            request: json!({"q": "北京", "limit": 3, "attributesToRetrieve": shown}),
            view: View::Hits,
        },
        Stop {
            title: "A facet: where the cities of a million stand",
            request: json!({
                "filter": "population >= 1000000", "facets": ["continent"], "limit": 0
            }),
            view: View::Facet("continent"),
        },
        Stop {
            title: "A sort: the largest cities of Africa",
            request: json!({
                "filter": "continent = Africa", "sort": ["population:desc"], "limit": 5,
                "attributesToRetrieve": shown
            }),
            view: View::Hits,
        },
        Stop {
            title: "Near a point: around 46.52, 6.63, within 60 km",
            request: json!({
                "filter": "_geoRadius(46.52, 6.63, 60000)", "sort": ["_geoPoint(46.52, 6.63):asc"],
                // `_geoDistance` comes with `_geo` only.
                "limit": 5, "attributesToRetrieve": ["name", "country", "population", "_geo"]
            }),
            view: View::Distance,
        },
    ]
}

fn show(stop: &Stop, answer: &Value) -> String {
    let table = match stop.view {
        View::Hits => screen::table(&["city", "country", "population"], &hit_rows(answer, false)),
        View::Distance => screen::table(
            &["city", "country", "population", "distance"],
            &hit_rows(answer, true),
        ),
        View::Facet(name) => screen::table(&[name, "cities"], &facet_rows(answer, name)),
    };
    let total = answer["estimatedTotalHits"].as_u64().unwrap_or(0);
    let took = answer["processingTimeMs"].as_u64().unwrap_or(0);
    format!(
        "\n{}   {} found in {took} ms\n  {}\n{table}",
        stop.title,
        screen::grouped(total),
        stop.request
    )
}

fn hit_rows(answer: &Value, with_distance: bool) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    answer["hits"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|hit| {
            let population = hit["population"].as_u64().unwrap_or(0);
            let mut row = vec![
                text(&hit["name"]),
                text(&hit["country"]),
                screen::grouped(population),
            ];
            if with_distance {
                let kilometres = |metres: f64| format!("{:.1} km", metres / 1000.0);
                row.push(
                    hit["_geoDistance"]
                        .as_f64()
                        .map_or_else(|| "-".to_owned(), kilometres),
                );
            }
            row
        })
        .collect()
}

/// The facet's values, the most frequent first.
fn facet_rows(answer: &Value, facet: &str) -> Vec<Vec<String>> {
    let mut counts: Vec<(u64, &String)> = answer["facetDistribution"][facet]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(value, count)| (count.as_u64().unwrap_or(0), value))
        .collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    counts
        .iter()
        .map(|(count, value)| vec![(*value).clone(), screen::grouped(*count)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facets_are_shown_most_frequent_first() {
        let answer = json!({
            "facetDistribution": {"continent": {"Africa": 5, "Asia": 1200, "Europe": 5}}
        });
        let rows = facet_rows(&answer, "continent");
        assert_eq!(rows, [["Asia", "1,200"], ["Africa", "5"], ["Europe", "5"]]);
    }

    #[test]
    fn a_hit_is_shown_with_its_distance() {
        let answer = json!({"hits": [{
            "name": "Lausanne", "country": "Switzerland", "population": 116_751, "_geoDistance": 431
        }]});
        let rows = hit_rows(&answer, true);
        assert_eq!(rows, [["Lausanne", "Switzerland", "116,751", "0.4 km"]]);
    }
}
