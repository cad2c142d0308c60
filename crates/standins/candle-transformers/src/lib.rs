//! A stand-in for candle-transformers: the names of the BERT model that the engine uses.

/// The models.
pub mod models {
    /// BERT, which cannot be loaded.
    pub mod bert {
        use candle_core::{DType, Device, Error, Result, Tensor};
        use candle_nn::VarBuilder;

        /// The number type of the model.
        pub const DTYPE: DType = DType::F32;

        /// A model's description; its fields are ignored.
        #[derive(Debug, Clone, serde::Deserialize)]
        pub struct Config {}

        /// The model.
        #[derive(Debug)]
        pub struct BertModel {
            /// Where it would run.
            pub device: Device,
        }

        impl BertModel {
            /// # Errors
            /// Always.
            pub fn load(_weights: VarBuilder, _config: &Config) -> Result<Self> {
                Err(Error)
            }

            /// # Errors
            /// Always.
            pub fn forward(
                &self,
                _token_ids: &Tensor,
                _token_type_ids: &Tensor,
                _attention_mask: Option<&Tensor>,
            ) -> Result<Tensor> {
                Err(Error)
            }
        }
    }
}
