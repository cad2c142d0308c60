//! Which action each route needs, out of the table of routes.
//!
//! A route that is not in the table is closed to API keys: forgetting a line refuses too much,
//! never too little.

use crate::routes;
pub(crate) use crate::routes::Need;
use http::Method;
use miroir_api::action::Action;
use std::collections::HashMap;
use std::sync::LazyLock;

impl Need {
    pub(super) fn actions(&self) -> &[Action] {
        match self {
            Self::One(action) => std::slice::from_ref(action),
            Self::Both(actions) => actions,
        }
    }

    /// Whether it is about keys, which only exist where there is a master key.
    pub(super) fn is_about_keys(self) -> bool {
        let about_keys = |action: &Action| action.name().starts_with("keys.");
        self.actions().iter().any(about_keys)
    }
}

/// By path, then by method.
static NEEDS: LazyLock<HashMap<String, Vec<(&'static str, Need)>>> = LazyLock::new(|| {
    let mut needs: HashMap<String, Vec<_>> = HashMap::new();
    for route in routes::all() {
        if let Some(need) = route.need {
            let methods = needs.entry(route.path.into_owned()).or_default();
            methods.push((route.method, need));
        }
    }
    needs
});

/// What a route needs; `None` for one that no API key opens.
pub(crate) fn need_of(method: &Method, path: &str) -> Option<Need> {
    // A HEAD is a GET whose body is not wanted.
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let methods = NEEDS.get(path)?.iter();
    let mut found = methods.filter(|(verb, _)| *verb == method.as_str());
    found.next().map(|(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_the_table_is_closed() {
        assert_eq!(need_of(&Method::GET, "/brand-new"), None);
        assert_eq!(need_of(&Method::PUT, "/tasks"), None);
    }

    #[test]
    fn every_line_of_the_table_is_found() {
        for route in routes::all() {
            let method = route.method.parse().expect("a method");
            assert_eq!(need_of(&method, &route.path), route.need, "{route:?}");
        }
    }

    #[test]
    fn a_head_needs_what_a_get_needs() {
        let head = need_of(&Method::HEAD, "/indexes/{uid}/settings/stop-words");
        assert_eq!(head, Some(Need::One(Action::SettingsGet)));
        assert_eq!(
            need_of(&Method::HEAD, "/stats"),
            Some(Need::One(Action::StatsGet))
        );
    }
}
