//! Workspaces: which LLM conversations are held with, and what it is told first.

use super::prompts;
use crate::error::{Code, ResponseError};
use crate::validate::{At, optional};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Who answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// `openAi`.
    #[default]
    OpenAi,
    /// `azureOpenAi`.
    AzureOpenAi,
    /// `mistral`.
    Mistral,
    /// `vLlm`.
    VLlm,
}

/// In the order in which refusals list them.
const SOURCES: [(&str, Source); 4] = [
    ("openAi", Source::OpenAi),
    ("mistral", Source::Mistral),
    ("azureOpenAi", Source::AzureOpenAi),
    ("vLlm", Source::VLlm),
];

/// Models of OpenAI that know the role `system` only; newer ones want `developer`.
const OLD_MODELS: [&str; 6] = [
    "gpt-3.5",
    "gpt-4",
    "gpt-4.1",
    "gpt-4.5",
    "gpt-4o",
    "chatgpt-4o",
];

impl Source {
    /// The role under which the first prompt is given to this model.
    #[must_use]
    pub fn system_role(self, model: &str) -> &'static str {
        let is_old = OLD_MODELS.iter().any(|old| {
            let rest = model.strip_prefix(old);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        match self {
            Self::OpenAi | Self::AzureOpenAi if !is_old => "developer",
            _ => "system",
        }
    }

    /// Whether it tells how many tokens were used, if asked to.
    #[must_use]
    pub fn reports_usage(self) -> bool {
        matches!(self, Self::OpenAi | Self::AzureOpenAi)
    }

    fn default_base(self) -> &'static str {
        match self {
            Self::Mistral => "https://api.mistral.ai/v1",
            _ => "https://api.openai.com/v1",
        }
    }
}

/// What an LLM is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Prompts {
    /// The first message of every conversation.
    pub system: String,
    /// What the search function does; the indexes follow.
    pub search_description: String,
    /// What its parameter `q` is.
    pub search_q_param: String,
    /// What its parameter `filter` is; the values of fields follow.
    pub search_filter_param: String,
    /// What its parameter `index_uid` is.
    pub search_index_uid_param: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            system: prompts::SYSTEM.to_owned(),
            search_description: prompts::SEARCH_DESCRIPTION.to_owned(),
            search_q_param: prompts::SEARCH_Q.to_owned(),
            search_filter_param: prompts::SEARCH_FILTER.to_owned(),
            search_index_uid_param: prompts::SEARCH_INDEX_UID.to_owned(),
        }
    }
}

/// A workspace. The stored form is part of the database format; what is shown is the same with the
/// key hidden.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workspace {
    /// Who answers.
    pub source: Source,
    /// The organization at OpenAI.
    pub org_id: Option<String>,
    /// The project at OpenAI.
    pub project_id: Option<String>,
    /// The version of the API at Azure.
    pub api_version: Option<String>,
    /// The deployment at Azure.
    pub deployment_id: Option<String>,
    /// Where the LLM is, if not where its source is by default.
    pub base_url: Option<String>,
    /// The key of the LLM.
    pub api_key: Option<String>,
    /// What it is told.
    pub prompts: Prompts,
}

// By hand: the key must not reach a log, and addresses may hold one.
impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Workspace {
    /// What is shown of it.
    #[must_use]
    pub fn shown(&self) -> Self {
        Self {
            api_key: self.api_key.as_deref().map(hidden),
            ..self.clone()
        }
    }

    /// Refuses one that could not be used.
    ///
    /// # Errors
    /// Its source needs more to be set.
    pub fn check(&self) -> Result<(), ResponseError> {
        let wrong = |message| Err(ResponseError::new(Code::BadRequest, message));
        match self.source {
            Source::AzureOpenAi
                if self.base_url.is_none()
                    || self.deployment_id.is_none()
                    || self.api_version.is_none() =>
            {
                wrong(
                    "azureOpenAi requires setting a valid `baseUrl`, `deploymentId`, and \
                     `apiVersion`",
                )
            }
            Source::VLlm if self.base_url.is_none() => {
                wrong("vLlm requires setting a valid `baseUrl`")
            }
            _ => Ok(()),
        }
    }

    /// Where conversations are continued.
    #[must_use]
    pub fn url(&self) -> String {
        let base = self.base_url.as_deref();
        let base = base.unwrap_or_else(|| self.source.default_base());
        let base = base.strip_suffix('/').unwrap_or(base);
        let text = |part: &Option<String>| encoded(part.as_deref().unwrap_or_default());
        match self.source {
            Source::AzureOpenAi => format!(
                "{base}/openai/deployments/{}/chat/completions?api-version={}",
                text(&self.deployment_id),
                text(&self.api_version),
            ),
            _ => format!("{base}/chat/completions"),
        }
    }

    /// What is sent along, by name; one of them holds the key.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let key = self.api_key.clone().unwrap_or_default();
        if self.source == Source::AzureOpenAi {
            return vec![("api-key", key)];
        }
        let mut headers = vec![
            ("authorization", format!("Bearer {key}")),
            ("openai-beta", "assistants=v2".to_owned()),
        ];
        for (name, value) in [
            ("openai-organization", &self.org_id),
            ("openai-project", &self.project_id),
        ] {
            if let Some(value) = value.clone().filter(|value| !value.is_empty()) {
                headers.push((name, value));
            }
        }
        headers
    }

    /// The workspace after `PATCH /chats/{uid}/settings`.
    ///
    /// # Errors
    /// The first mistake in the form of `body`.
    pub fn patched(mut self, body: &Value) -> Result<Self, ResponseError> {
        const ACCEPTED: [&str; 8] = [
            "source",
            "orgId",
            "projectId",
            "apiVersion",
            "deploymentId",
            "baseUrl",
            "apiKey",
            "prompts",
        ];
        let root = At::root(Code::BadRequest);
        for (name, value) in root.object(body)? {
            let (place, code) = match name.as_str() {
                "source" => {
                    let at = root.inner("source");
                    self.source =
                        optional(value, |value| read_source(&at, value))?.unwrap_or_default();
                    continue;
                }
                "prompts" => {
                    let at = root.inner("prompts");
                    self.prompts = match value {
                        Value::Null => Prompts::default(),
                        value => patched_prompts(self.prompts, &at, value)?,
                    };
                    continue;
                }
                "orgId" => (&mut self.org_id, Code::InvalidChatCompletionOrgId),
                "projectId" => (&mut self.project_id, Code::InvalidChatCompletionProjectId),
                "apiVersion" => (&mut self.api_version, Code::InvalidChatCompletionApiVersion),
                "deploymentId" => (
                    &mut self.deployment_id,
                    Code::InvalidChatCompletionDeploymentId,
                ),
                "baseUrl" => (&mut self.base_url, Code::InvalidChatCompletionBaseApi),
                "apiKey" => (&mut self.api_key, Code::InvalidChatCompletionApiKey),
                _ => return Err(root.unknown_field(name, &ACCEPTED)),
            };
            let at = root.field(name, code);
            *place = optional(value, |value| Ok(at.string(value)?.to_owned()))?;
        }
        Ok(self)
    }
}

fn read_source(at: &At<'_>, value: &Value) -> Result<Source, ResponseError> {
    let name = at.string(value)?;
    let found = SOURCES.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, source)| *source)
        .ok_or_else(|| at.unknown_value(name, &SOURCES.map(|(known, _)| known)))
}

fn patched_prompts(
    mut prompts: Prompts,
    at: &At<'_>,
    patch: &Value,
) -> Result<Prompts, ResponseError> {
    const ACCEPTED: [&str; 5] = [
        "system",
        "searchDescription",
        "searchQParam",
        "searchFilterParam",
        "searchIndexUidParam",
    ];
    for (name, value) in at.object(patch)? {
        let (place, default, code) = match name.as_str() {
            "system" => (
                &mut prompts.system,
                prompts::SYSTEM,
                Code::InvalidChatCompletionSystemPrompt,
            ),
            "searchDescription" => (
                &mut prompts.search_description,
                prompts::SEARCH_DESCRIPTION,
                Code::InvalidChatCompletionSearchDescriptionPrompt,
            ),
            "searchQParam" => (
                &mut prompts.search_q_param,
                prompts::SEARCH_Q,
                Code::InvalidChatCompletionSearchQueryParamPrompt,
            ),
            "searchFilterParam" => (
                &mut prompts.search_filter_param,
                prompts::SEARCH_FILTER,
                Code::InvalidChatCompletionSearchFilterParamPrompt,
            ),
            "searchIndexUidParam" => (
                &mut prompts.search_index_uid_param,
                prompts::SEARCH_INDEX_UID,
                Code::InvalidChatCompletionSearchIndexUidParamPrompt,
            ),
            _ => return Err(at.unknown_field(name, &ACCEPTED)),
        };
        let at = at.field(name, code);
        let text = optional(value, |value| Ok(at.string(value)?.to_owned()))?;
        *place = text.unwrap_or_else(|| default.to_owned());
    }
    Ok(prompts)
}

/// A key without its secret: of a longer one some characters stay.
fn hidden(key: &str) -> String {
    let (kept, mask) = crate::secret::mask(key.len());
    format!("{}{mask}", &key[..key.floor_char_boundary(kept)])
}

/// A part of an address: what has a meaning there is written as percent and number.
fn encoded(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(body: Value) -> Result<Workspace, ResponseError> {
        Workspace::default().patched(&body)
    }

    #[test]
    fn a_key_is_never_shown_whole() {
        for (key, shown) in [
            ("", "XXX..."),
            ("123456789", "XXX..."),
            ("1234567890", "12XXXX..."),
            ("12345678901234567890", "123XXXXX..."),
            ("123456789012345678901234567890", "12345XXXXXX..."),
            ("éééééé", "éXXXX..."),
            ("aéééééé", "aXXXX..."),
        ] {
            let workspace = patched(json!({"apiKey": key})).unwrap();
            assert_eq!(workspace.shown().api_key.as_deref(), Some(shown), "{key}");
            assert!(key.is_empty() || !format!("{workspace:?}").contains(key));
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_resets_what_is_null() {
        let first = patched(json!({
            "source": "mistral", "apiKey": "k", "prompts": {"system": "s", "searchQParam": "q"},
        }))
        .unwrap();
        let second = first
            .clone()
            .patched(&json!({"source": null, "prompts": {"system": null}}))
            .unwrap();
        assert_eq!(second.source, Source::OpenAi);
        assert_eq!(second.api_key.as_deref(), Some("k"));
        assert_eq!(second.prompts.system, prompts::SYSTEM);
        assert_eq!(second.prompts.search_q_param, "q");
        let third = second
            .patched(&json!({"prompts": null, "apiKey": null}))
            .unwrap();
        assert_eq!(third, Workspace::default());
    }

    #[test]
    fn mistakes_have_the_codes_of_their_fields() {
        for (body, code) in [
            (json!({"source": "foo"}), "bad_request"),
            (json!({"sourc": 1}), "bad_request"),
            (json!({"apiKey": 1}), "invalid_chat_completion_api_key"),
            (json!({"baseUrl": 1}), "invalid_chat_completion_base_api"),
            (
                json!({"prompts": {"searchQParam": 1}}),
                "invalid_chat_completion_search_query_param_prompt",
            ),
            (json!({"prompts": {"preQuery": "a"}}), "bad_request"),
        ] {
            assert_eq!(&*patched(body).unwrap_err().code, code);
        }
        let incomplete = patched(json!({"source": "vLlm"})).unwrap();
        assert!(incomplete.check().is_err());
        let incomplete = patched(json!({"source": "azureOpenAi", "baseUrl": "http://a"})).unwrap();
        assert!(incomplete.check().is_err());
    }

    #[test]
    fn addresses_and_headers_are_those_of_the_source() {
        let azure = patched(json!({
            "source": "azureOpenAi", "baseUrl": "https://a/", "deploymentId": "d/1",
            "apiVersion": "v&2", "apiKey": "k", "orgId": "o",
        }))
        .unwrap();
        assert_eq!(
            azure.url(),
            "https://a/openai/deployments/d%2F1/chat/completions?api-version=v%262"
        );
        assert_eq!(azure.headers(), [("api-key", "k".to_owned())]);
        let mistral = patched(json!({"source": "mistral"})).unwrap();
        assert_eq!(mistral.url(), "https://api.mistral.ai/v1/chat/completions");
        let own = patched(json!({"baseUrl": "http://a:1/v1", "orgId": "o"})).unwrap();
        assert_eq!(own.url(), "http://a:1/v1/chat/completions");
        assert!(
            own.headers()
                .contains(&("openai-organization", "o".to_owned()))
        );
    }

    #[test]
    fn new_models_of_openai_are_told_as_developer() {
        for (source, model, role) in [
            (Source::OpenAi, "gpt-4o-2024-08-06", "system"),
            (Source::OpenAi, "gpt-4", "system"),
            (Source::OpenAi, "gpt-45", "developer"),
            (Source::AzureOpenAi, "o3", "developer"),
            (Source::Mistral, "o3", "system"),
            (Source::VLlm, "any", "system"),
        ] {
            assert_eq!(source.system_role(model), role, "{model}");
        }
    }

    #[test]
    fn older_stored_workspaces_are_read() {
        let stored: Workspace = serde_json::from_value(json!({"source": "vLlm"})).unwrap();
        assert_eq!(stored.prompts, Prompts::default());
    }
}
