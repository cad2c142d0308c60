//! A stand-in for candle-nn: the loader of model weights that the engine names; it loads nothing.

use candle_core::{DType, Device, Error, Result};
use std::path::Path;

/// Weights that cannot be loaded.
#[derive(Debug, Clone)]
pub struct VarBuilder;

impl VarBuilder {
    /// # Errors
    /// Always.
    pub fn from_pth<P: AsRef<Path>>(_path: P, _dtype: DType, _device: &Device) -> Result<Self> {
        Err(Error)
    }

    /// # Safety
    /// Nothing to uphold: the function only has the signature of the real one, which maps files.
    ///
    /// # Errors
    /// Always.
    pub unsafe fn from_mmaped_safetensors<P: AsRef<Path>>(
        _paths: &[P],
        _dtype: DType,
        _device: &Device,
    ) -> Result<Self> {
        Err(Error)
    }
}
