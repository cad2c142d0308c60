//! A stand-in for hf-hub: the names the engine uses to download models; it downloads nothing.

/// The kind of a repository.
#[derive(Debug, Clone, Copy)]
pub enum RepoType {
    /// A model.
    Model,
}

/// The name of a repository.
#[derive(Debug, Clone)]
pub struct Repo;

impl Repo {
    /// The newest revision of a model.
    pub fn model(_name: String) -> Self {
        Repo
    }

    /// A given revision.
    pub fn with_revision(_name: String, _kind: RepoType, _revision: String) -> Self {
        Repo
    }
}

/// The client.
pub mod api {
    /// The blocking client.
    pub mod sync {
        use std::fmt;
        use std::path::PathBuf;

        /// Why a download fails.
        #[derive(Debug)]
        pub enum ApiError {
            /// The server refused; never made here, but the engine matches it.
            RequestError(Box<ureq::Error>),
            /// Downloads are left out of this build.
            LeftOut,
        }

        impl fmt::Display for ApiError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    ApiError::RequestError(error) => write!(f, "request error: {error}"),
                    ApiError::LeftOut => {
                        f.write_str("the `huggingFace` source is not part of this build")
                    }
                }
            }
        }

        impl std::error::Error for ApiError {}

        /// A client that cannot be made.
        #[derive(Debug, Clone)]
        pub struct Api;

        impl Api {
            /// # Errors
            /// Always.
            pub fn new() -> Result<Self, ApiError> {
                Err(ApiError::LeftOut)
            }

            /// The same client, for one repository.
            pub fn repo(&self, _repo: crate::Repo) -> ApiRepo {
                ApiRepo
            }
        }

        /// A client of one repository.
        #[derive(Debug, Clone)]
        pub struct ApiRepo;

        impl ApiRepo {
            /// # Errors
            /// Always.
            pub fn get(&self, _file: &str) -> Result<PathBuf, ApiError> {
                Err(ApiError::LeftOut)
            }
        }
    }
}
