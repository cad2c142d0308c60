//! Who may ask, and whom Miroir calls: keys, webhooks, networks.

use super::raw::At;
use super::{Check, Environment, MASTER_KEY_BYTES_MIN, MASTER_KEY_ENV, Secret, WebhookConfig};
use crate::screen;
use miroir_node::IpPolicy;

impl Check {
    pub(super) fn master_key(&mut self, env: Environment, key: Option<Secret>) -> Option<Secret> {
        if env == Environment::Production {
            let length = key.as_ref().map(|key| key.reveal().len());
            match length {
                None => self.add(
                    None,
                    format!(
                        "env is \"production\" and {MASTER_KEY_ENV} is not set: put a key of at \
                         least {MASTER_KEY_BYTES_MIN} bytes into that environment variable"
                    ),
                ),
                Some(length) if length < MASTER_KEY_BYTES_MIN => self.add(
                    None,
                    format!(
                        "{MASTER_KEY_ENV} has {length} bytes: production asks for at least \
                         {MASTER_KEY_BYTES_MIN}"
                    ),
                ),
                Some(_) => {}
            }
        }
        key
    }

    pub(super) fn webhook(
        &mut self,
        url: Option<At<String>>,
        authorization: Option<Secret>,
    ) -> Option<WebhookConfig> {
        let At { value: url, line } = url?;
        let uri: Option<http::Uri> = url.parse().ok();
        let is_called = uri.as_ref().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_called {
            let text = format!(
                "`task_webhook_url` cannot be \"{url}\": write an address that begins with \
                 http:// or https://"
            );
            self.add(line, text);
        }
        Some(WebhookConfig { url, authorization })
    }

    /// Where webhooks may lead that are made over the API. The former key of their own still counts
    /// for them alone.
    pub(super) fn webhook_ips(&mut self, raw: Option<At<String>>, allowed: &IpPolicy) -> IpPolicy {
        let Some(At { value, line }) = raw else {
            return allowed.clone();
        };
        match value.as_str() {
            "any" | "global" => {
                screen::note(
                    "`webhook_addresses` still counts, for webhooks; `allowed_ip_networks` is for \
                     webhooks and exports, and can name networks",
                );
                let any = IpPolicy::parse(&value).ok();
                any.filter(|_| value == "any").unwrap_or_default()
            }
            other => {
                let text = format!(
                    "`webhook_addresses` cannot be \"{other}\": write `allowed_ip_networks` in its \
                     place"
                );
                self.add(line, text);
                IpPolicy::default()
            }
        }
    }

    pub(super) fn allowed_ips(&mut self, raw: Option<At<String>>) -> IpPolicy {
        let Some(At { value, line }) = raw else {
            return IpPolicy::default();
        };
        IpPolicy::parse(&value).unwrap_or_else(|part| {
            let text = format!(
                "`allowed_ip_networks` cannot hold \"{part}\": write networks such as \
                 \"10.0.0.0/8, 192.168.1.7\", or \"any\""
            );
            self.add(line, text);
            IpPolicy::default()
        })
    }
}
