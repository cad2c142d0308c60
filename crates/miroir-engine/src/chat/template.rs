//! What an LLM is shown of a document: a Liquid template over it.
//!
//! A template sees `doc`, and `fields`, a list of `{name, value, is_searchable}`, both in the order of
//! the document. Its output is bounded: a template is a small program, and may be a wrong one.

use super::search::ChatFound;
use liquid::model::{
    ArrayView, DisplayCow, KStringCow, ObjectRender, ObjectSource, ScalarCow, State, Value as Known,
};
use liquid::{ObjectView, Parser, ParserBuilder, Template, ValueView};
use miroir_core::settings::{ChatSetting, Settings, is_searchable};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{self, Write};
use std::sync::LazyLock;

/// A document rendered longer than this is refused.
const RENDERED_BYTES_MAX: usize = 1024 * 1024;
/// All documents of one search together.
const ALL_BYTES_MAX: usize = 8 * 1024 * 1024;

/// These stand beside a document's own fields.
const BESIDE: [&str; 3] = ["_vectors", "_geo", "_geojson"];

static PARSER: LazyLock<Option<Parser>> =
    LazyLock::new(|| ParserBuilder::with_stdlib().build().ok());

fn parse(template: &str) -> Result<Template, String> {
    let parser = PARSER.as_ref().ok_or("templates cannot be read")?;
    parser.parse(template).map_err(|error| error.to_string())
}

/// Documents that a template cannot be rendered over; in Meilisearch's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

/// The error object of a change of the setting `chat` that cannot be; `None` for one that can.
pub(crate) fn check(uid: &str, patch: &Map<String, Value>, merged: &Settings) -> Option<Value> {
    let patch = patch.get("chat")?.as_object()?;
    let (code, message) = if patch.get("documentTemplateMaxBytes") == Some(&json!(0)) {
        let message = "`.chat.documentTemplateMaxBytes`: `documentTemplateMaxBytes` cannot be zero";
        ("invalid_settings_embedders", message.to_owned())
    } else {
        let error = parse(&ChatSetting::of(merged).template).err()?;
        let message = format!(
            "`.chat.documentTemplate`: Invalid document template: user error: cannot parse \
             template: {error}."
        );
        ("invalid_chat_setting_document_template", message)
    };
    Some(json!({
        "message": format!("Index `{uid}`: {message}"),
        "code": code,
        "type": "invalid_request",
        "link": format!("https://docs.meilisearch.com/errors#{code}"),
    }))
}

/// What an LLM is shown of the documents, one after the other.
///
/// # Errors
/// The template does not fit a document, or makes too much of them.
pub fn render(found: &ChatFound) -> Result<String, RenderError> {
    let setting = ChatSetting::of(&found.settings);
    let template = parse(&setting.template)
        .map_err(|error| RenderError(format!("user error: cannot parse template: {error}")))?;
    let mut all = String::new();
    for (at, document) in found.documents.iter().enumerate() {
        let context = context(document, &found.settings);
        let mut out = Bounded(Vec::new());
        template.render_to(&mut out, &context).map_err(|error| {
            let id = found.primary_key.as_ref().and_then(|key| document.get(key));
            let id = match id {
                Some(Value::String(id)) => id.clone(),
                Some(id) => id.to_string(),
                None => String::new(),
            };
            RenderError(format!(
                "user error: missing field in document `{id}`: {error}"
            ))
        })?;
        if at > 0 {
            all.push('\n');
        }
        all.push_str(&String::from_utf8_lossy(&out.0));
        if all.len() > ALL_BYTES_MAX {
            return Err(RenderError(format!(
                "the documents found are rendered to more than {ALL_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(all)
}

fn context(document: &Map<String, Value>, settings: &Settings) -> Node {
    let own = document
        .iter()
        .filter(|(name, _)| !BESIDE.contains(&name.as_str()));
    let fields = own.clone().map(|(name, value)| {
        Node::Object(vec![
            ("name".to_owned(), Node::from(&Value::from(name.as_str()))),
            ("value".to_owned(), Node::from(value)),
            (
                "is_searchable".to_owned(),
                Node::from(&Value::from(is_searchable(settings, name))),
            ),
        ])
    });
    let fields = fields.collect();
    let doc = own.map(|(name, value)| (name.clone(), Node::from(value)));
    Node::Object(vec![
        ("doc".to_owned(), Node::Object(doc.collect())),
        ("fields".to_owned(), Node::Array(fields)),
    ])
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other("the rendered document is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A value as templates see it, in the order of the document: the fields, and the names that an
/// error lists. An object that a template shows whole, or walks over, becomes one of Liquid's own
/// on the way, whose members stand in any order (so they do in Meilisearch).
#[derive(Debug, Clone)]
enum Node {
    /// `nil`, text, a number or a boolean.
    Plain(Known),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let scalar = |scalar: ScalarCow<'static>| Self::Plain(Known::Scalar(scalar));
        match value {
            Value::Null => Self::Plain(Known::Nil),
            Value::Bool(is) => scalar(ScalarCow::new(*is)),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(integer), _, _) => scalar(ScalarCow::new(integer)),
                // Beyond Liquid's integers: as text.
                (_, Some(integer), _) => scalar(ScalarCow::new(integer.to_string())),
                (_, _, Some(float)) => scalar(ScalarCow::new(float)),
                _ => scalar(ScalarCow::new(number.to_string())),
            },
            Value::String(text) => scalar(ScalarCow::new(text.clone())),
            Value::Array(values) => Self::Array(values.iter().map(Self::from).collect()),
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

impl Node {
    fn is_nothing(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Array(values) => values.is_empty(),
            Self::Object(members) => members.is_empty(),
        }
    }

    fn values(&self) -> &[Node] {
        match self {
            Self::Array(values) => values,
            _ => &[],
        }
    }

    fn members(&self) -> &[(String, Node)] {
        match self {
            Self::Object(members) => members,
            _ => &[],
        }
    }
}

impl ValueView for Node {
    fn as_debug(&self) -> &dyn fmt::Debug {
        self
    }

    fn render(&self) -> DisplayCow<'_> {
        match self {
            Self::Plain(value) => value.render(),
            Self::Array(values) => DisplayCow::Owned(Box::new(Joined(values, false))),
            Self::Object(_) => DisplayCow::Owned(Box::new(ObjectRender::new(self))),
        }
    }

    fn source(&self) -> DisplayCow<'_> {
        match self {
            Self::Plain(value) => value.source(),
            Self::Array(values) => DisplayCow::Owned(Box::new(Joined(values, true))),
            Self::Object(_) => DisplayCow::Owned(Box::new(ObjectSource::new(self))),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Plain(value) => value.type_name(),
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    fn query_state(&self, state: State) -> bool {
        match (self, state) {
            (Self::Plain(value), state) => value.query_state(state),
            (_, State::Truthy) => true,
            (_, State::DefaultValue | State::Empty | State::Blank) => self.is_nothing(),
        }
    }

    fn to_kstr(&self) -> KStringCow<'_> {
        match self {
            Self::Plain(value) => value.to_kstr(),
            _ => KStringCow::from_string(self.render().to_string()),
        }
    }

    fn to_value(&self) -> Known {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Array(values) => Known::Array(values.iter().map(Self::to_value).collect()),
            Self::Object(members) => Known::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone().into(), value.to_value()))
                    .collect(),
            ),
        }
    }

    fn as_scalar(&self) -> Option<ScalarCow<'_>> {
        match self {
            Self::Plain(value) => value.as_scalar(),
            _ => None,
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Plain(value) if value.is_scalar())
    }

    fn as_array(&self) -> Option<&dyn ArrayView> {
        self.is_array().then_some(self as &dyn ArrayView)
    }

    fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    fn as_object(&self) -> Option<&dyn ObjectView> {
        self.is_object().then_some(self as &dyn ObjectView)
    }

    fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    fn is_nil(&self) -> bool {
        matches!(self, Self::Plain(Known::Nil))
    }
}

impl ArrayView for Node {
    fn as_value(&self) -> &dyn ValueView {
        self
    }

    fn size(&self) -> i64 {
        i64::try_from(Node::values(self).len()).unwrap_or(i64::MAX)
    }

    fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
        Box::new(
            Node::values(self)
                .iter()
                .map(|value| value as &dyn ValueView),
        )
    }

    fn contains_key(&self, index: i64) -> bool {
        ArrayView::get(self, index).is_some()
    }

    fn get(&self, index: i64) -> Option<&dyn ValueView> {
        let values = Node::values(self);
        let from_end = || index.checked_add(ArrayView::size(self));
        let index = if index < 0 { from_end()? } else { index };
        let value = values.get(usize::try_from(index).ok()?)?;
        Some(value as &dyn ValueView)
    }
}

impl ObjectView for Node {
    fn as_value(&self) -> &dyn ValueView {
        self
    }

    fn size(&self) -> i64 {
        i64::try_from(self.members().len()).unwrap_or(i64::MAX)
    }

    fn keys<'k>(&'k self) -> Box<dyn Iterator<Item = KStringCow<'k>> + 'k> {
        Box::new(
            self.members()
                .iter()
                .map(|(name, _)| KStringCow::from_ref(name)),
        )
    }

    fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
        Box::new(
            self.members()
                .iter()
                .map(|(_, value)| value as &dyn ValueView),
        )
    }

    fn iter<'k>(&'k self) -> Box<dyn Iterator<Item = (KStringCow<'k>, &'k dyn ValueView)> + 'k> {
        let members = self.members().iter();
        Box::new(members.map(|(name, value)| (KStringCow::from_ref(name), value as &dyn ValueView)))
    }

    fn contains_key(&self, index: &str) -> bool {
        ObjectView::get(self, index).is_some()
    }

    fn get<'s>(&'s self, index: &str) -> Option<&'s dyn ValueView> {
        let mut members = self.members().iter();
        let (_, value) = members.find(|(name, _)| name == index)?;
        Some(value as &dyn ValueView)
    }
}

/// The values of a list one after the other; as source, with commas and in brackets.
struct Joined<'a>(&'a [Node], bool);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(values, is_source) = self;
        let (before, between, after) = if *is_source {
            ("[", ", ", "]")
        } else {
            ("", "", "")
        };
        f.write_str(before)?;
        for value in *values {
            write!(f, "{}{between}", value.render())?;
        }
        f.write_str(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: Value, documents: Value) -> ChatFound {
        ChatFound {
            documents: serde_json::from_value(documents).unwrap(),
            primary_key: Some("id".to_owned()),
            settings: serde_json::from_value(settings).unwrap(),
        }
    }

    fn rendered(template: &str, document: Value) -> Result<String, String> {
        let settings = json!({"chat": {"documentTemplate": template}});
        render(&found(settings, json!([document]))).map_err(|error| error.0)
    }

    #[test]
    fn searchable_fields_are_shown_by_default() {
        let settings = json!({"searchableAttributes": ["title", "genre"]});
        let documents = json!([
            {"id": 1, "title": "Alien", "genre": ["horror", "scifi"], "_geo": {"lat": 1, "lng": 2}},
            {"id": 2, "title": "Brazil", "genre": null},
        ]);
        assert_eq!(
            render(&found(settings, documents)).unwrap(),
            "title: Alien\ngenre: horrorscifi\n\ntitle: Brazil\n"
        );
    }

    #[test]
    fn values_are_shown_as_liquid_shows_them() {
        // One member only: an object that is shown whole has its members in any order.
        let document = json!({
            "z": {"b": [1, null, "s", 1.5]},
            "a": 18446744073709551615_u64,
        });
        assert_eq!(
            rendered(
                "{{doc.z}}|{{doc.a}}|{{fields[1].name}}|{{doc.z.b | size}}",
                document
            ),
            Ok("b1s1.5|18446744073709551615|a|4".to_owned())
        );
    }

    #[test]
    fn a_field_that_is_missing_is_told_with_the_document() {
        let error = rendered("{{ doc.nope }}", json!({"id": 3, "title": "a"})).unwrap_err();
        assert_eq!(
            error,
            "user error: missing field in document `3`: liquid: Unknown index\n  with:\n    \
             variable=doc\n    requested index=nope\n    available indexes=id, title\n"
        );
    }

    #[test]
    fn a_template_that_never_ends_is_cut_off() {
        let template = "{% for a in (1..100000) %}{% for b in (1..100000) %}aaaaaaaaaaaaaaaaaaaa\
                        {% endfor %}{% endfor %}";
        assert!(rendered(template, json!({"id": 1})).is_err());
    }

    #[test]
    fn templates_are_checked_when_they_are_set() {
        let refused = |patch: Value| {
            let patch = patch.as_object().unwrap();
            check("movies", patch, patch)
        };
        assert_eq!(
            refused(json!({"chat": {"documentTemplate": "{{ doc.a }}"}})),
            None
        );
        assert_eq!(refused(json!({"chat": null})), None);
        let error = refused(json!({"chat": {"documentTemplate": "{{ doc.title"}})).unwrap();
        assert_eq!(error["code"], "invalid_chat_setting_document_template");
        assert_eq!(
            error["message"],
            "Index `movies`: `.chat.documentTemplate`: Invalid document template: user error: \
             cannot parse template: liquid:  --> 1:4\n  |\n1 | {{ doc.title\n  |    ^---\n  |\n  = \
             expected Literal\n."
        );
        let error = refused(json!({"chat": {"documentTemplateMaxBytes": 0}})).unwrap();
        assert_eq!(error["code"], "invalid_settings_embedders");
    }
}
