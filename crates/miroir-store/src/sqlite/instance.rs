//! API keys, experimental features and webhooks.

use super::{SqliteStore, catalog, row};
use async_trait::async_trait;
use miroir_engine::coordination::{ApiKeyRecord, ApiKeys, InstanceSettings, WebhookRecord};
use miroir_engine::port::StoreError;
use rusqlite::params;
use std::collections::BTreeMap;
use uuid::Uuid;

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn put_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO api_keys VALUES (?1, ?2)")?
                .execute(params![
                    record.uid.to_string(),
                    row::to_json(&record.record)?
                ])?;
            Ok(())
        })
        .await
    }

    async fn add_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError> {
        self.write(move |tx| {
            let added = tx
                .prepare_cached("INSERT INTO api_keys VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute(params![
                    record.uid.to_string(),
                    row::to_json(&record.record)?
                ])?;
            if added == 0 {
                let text = format!("there is an API key {}", record.uid);
                return Err(StoreError::Conflict(text).into());
            }
            Ok(())
        })
        .await
    }

    async fn load_api_keys(&self) -> Result<Vec<ApiKeyRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT uid, record FROM api_keys ORDER BY uid";
            catalog::load_all(connection, sql, |found| {
                let (uid, record): (String, String) = (found.get(0)?, found.get(1)?);
                let uid = row::uuid(&uid)?;
                Ok(ApiKeyRecord {
                    uid,
                    record: row::from_json(&record, "API key")?,
                })
            })
        })
        .await
    }

    async fn remove_api_key(&self, uid: Uuid) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let gone = tx
                .prepare_cached("DELETE FROM api_keys WHERE uid = ?1")?
                .execute([uid.to_string()])?;
            Ok(gone > 0)
        })
        .await
    }
}

#[async_trait]
impl InstanceSettings for SqliteStore {
    async fn load_features(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT name, is_enabled FROM features";
            let features =
                catalog::load_all(connection, sql, |found| Ok((found.get(0)?, found.get(1)?)))?;
            Ok(features.into_iter().collect())
        })
        .await
    }

    async fn put_features(&self, features: BTreeMap<String, bool>) -> Result<(), StoreError> {
        self.write(move |tx| {
            for (name, is_enabled) in features {
                tx.prepare_cached("INSERT OR REPLACE INTO features VALUES (?1, ?2)")?
                    .execute(params![name, is_enabled])?;
            }
            Ok(())
        })
        .await
    }

    async fn put_webhook(&self, record: WebhookRecord) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO webhooks VALUES (?1, ?2)")?
                .execute(params![
                    record.uuid.to_string(),
                    row::to_json(&record.record)?
                ])?;
            Ok(())
        })
        .await
    }

    async fn load_webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT uuid, record FROM webhooks ORDER BY uuid";
            catalog::load_all(connection, sql, |found| {
                let (uuid, record): (String, String) = (found.get(0)?, found.get(1)?);
                let uuid = row::uuid(&uuid)?;
                Ok(WebhookRecord {
                    uuid,
                    record: row::from_json(&record, "webhook")?,
                })
            })
        })
        .await
    }

    async fn remove_webhook(&self, uuid: Uuid) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let gone = tx
                .prepare_cached("DELETE FROM webhooks WHERE uuid = ?1")?
                .execute([uuid.to_string()])?;
            Ok(gone > 0)
        })
        .await
    }
}
