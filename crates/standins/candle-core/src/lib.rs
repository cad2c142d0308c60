//! A stand-in for candle-core: the names the engine uses for Hugging Face models, without the
//! models. Every operation fails, so a `huggingFace` embedder is refused with a clear message.

use std::fmt;

/// Says that local models are left out of this build.
#[derive(Debug)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("local models are not part of this build")
    }
}

impl std::error::Error for Error {}

/// The result of every operation here.
pub type Result<T> = std::result::Result<T, Error>;

/// Where a model would run.
#[derive(Debug, Clone)]
pub enum Device {
    /// The processor.
    Cpu,
}

impl Device {
    /// Always the processor.
    ///
    /// # Errors
    /// Never.
    pub fn cuda_if_available(_ordinal: usize) -> Result<Self> {
        Ok(Device::Cpu)
    }
}

/// The number type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DType {
    /// 32-bit floats.
    F32,
}

/// A tensor that cannot be made.
#[derive(Debug, Clone)]
pub struct Tensor;

impl Tensor {
    /// # Errors
    /// Always.
    pub fn new(_values: &[u32], _device: &Device) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn stack(_tensors: &[Tensor], _dim: usize) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn get_on_dim(&self, _dim: usize, _index: usize) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn dims3(&self) -> Result<(usize, usize, usize)> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn sum(&self, _dim: usize) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn max(&self, _dim: usize) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn zeros_like(&self) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn squeeze(&self, _dim: usize) -> Result<Self> {
        Err(Error)
    }

    /// # Errors
    /// Always.
    pub fn to_vec1(&self) -> Result<Vec<f32>> {
        Err(Error)
    }
}

impl std::ops::Div<f64> for Tensor {
    type Output = Result<Tensor>;

    fn div(self, _divisor: f64) -> Self::Output {
        Err(Error)
    }
}
