//! What a compact policy can be asked beside tasks: the farness of any places.

use burn::{Tensor, module::Module, tensor::TensorData};
use half::f16;

use super::{CompactError, CompactPolicy};

impl CompactPolicy {
    /// How far each place is, in units of log depth up to one offset a picture, `[points]`;
    /// larger is farther. `points` are `[points, channel]` as
    /// [`observe::PointReader`](super::observe::PointReader) gives them.
    ///
    /// # Errors
    /// [`CompactError::Config`] when a point has another number of channels than the encoder
    /// gives, [`CompactError::Device`] when the device fails.
    pub fn farness(&self, points: &[Vec<f16>]) -> Result<Vec<f32>, CompactError> {
        /// More at once gains nothing and costs memory.
        const CHUNK: usize = 1024;
        let channels = self.shape.point_channels;
        self.check_channels(points)?;
        let device = self.device.clone().inner();
        let head = self.head.valid();
        let mut all = Vec::with_capacity(points.len());
        for points in points.chunks(CHUNK) {
            let values: Vec<f32> = points.iter().flatten().map(|half| half.to_f32()).collect();
            let values = TensorData::new(values, [points.len(), channels]);
            let farness = head.farness(Tensor::from_data(values, &device), None);
            let farness = farness.try_into_vec_as::<f32>();
            all.extend(farness.map_err(|e| CompactError::Device(e.to_string()))?);
        }
        Ok(all)
    }

    /// What places look like on average, `[channel]`: features less their mean, in units of
    /// their spread as this policy was calibrated, within +-5; and the mean square of all of
    /// them, about 1 for what the policy knows. `points` as for [`CompactPolicy::farness`].
    ///
    /// # Errors
    /// As [`CompactPolicy::farness`].
    pub fn scaled_look(&self, points: &[Vec<f16>]) -> Result<(Vec<f32>, f32), CompactError> {
        self.check_channels(points)?;
        let values: Vec<f32> = points.iter().flatten().map(|half| half.to_f32()).collect();
        let values = TensorData::new(values, [points.len(), self.shape.point_channels]);
        let values = Tensor::<2>::from_data(values, &self.device.clone().inner());
        let scaled = self.head.valid().point_scaler.forward(values).clamp(-5.0, 5.0);
        let squares = scalar((scaled.clone() * scaled.clone()).mean())?;
        let means = scaled.mean_dim(0).try_into_vec_as::<f32>();
        Ok((means.map_err(|e| CompactError::Device(e.to_string()))?, squares))
    }

    fn check_channels(&self, points: &[Vec<f16>]) -> Result<(), CompactError> {
        let channels = self.shape.point_channels;
        match points.iter().find(|point| point.len() != channels) {
            Some(wrong) => Err(CompactError::Config(format!(
                "a place has {} features, this policy needs {channels}",
                wrong.len()
            ))),
            None => Ok(()),
        }
    }

    /// The inverse temperature of orders: the log-odds that the first of two places is nearer
    /// are this times the second's farness less the first's.
    ///
    /// # Errors
    /// [`CompactError::Device`] when the device fails.
    pub fn order_sharpness(&self) -> Result<f32, CompactError> {
        scalar(self.head.valid().order_sharpness())
    }

    /// The standard deviation of a difference of two farness scores, in units of log depth.
    ///
    /// # Errors
    /// [`CompactError::Device`] when the device fails.
    pub fn farness_spread(&self) -> Result<f32, CompactError> {
        scalar(self.head.valid().farness_spread())
    }
}

fn scalar(value: Tensor<1>) -> Result<f32, CompactError> {
    value.try_into_scalar::<f32>().map_err(|e| CompactError::Device(e.to_string()))
}
