//! The golden Qwen2.5-VL.

use std::{fs, path::PathBuf};

use burn::tensor::{Device, FloatDType};
use safetensors::SafeTensors;
use spatial_ssrl::policy::qwen::{
    QwenConfig,
    linear::{Adapter, PairData},
    model::{Model, Prompt},
    vision::Patches,
};

/// The folder with the reference's values.
pub struct Golden {
    folder: PathBuf,
    expected: Vec<u8>,
    pub json: serde_json::Value,
}

impl Golden {
    pub fn open() -> Option<Self> {
        let folder = super::shared("golden/qwen2_5_vl")?;
        let expected = fs::read(folder.join("expected.safetensors")).unwrap();
        let json = fs::read(folder.join("expected.json")).unwrap();
        Some(Golden { folder, expected, json: serde_json::from_slice(&json).unwrap() })
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        f32s(&SafeTensors::deserialize(&self.expected).unwrap(), name).1
    }

    pub fn i64(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.expected).unwrap();
        let bytes = tensors.tensor(name).unwrap().data().chunks_exact(8);
        bytes.map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn greedy(&self, case: usize) -> Vec<u32> {
        serde_json::from_value(self.json["cases"][case]["greedy"].clone()).unwrap()
    }

    pub fn prompt(&self, case: usize) -> Prompt {
        let ids = self.i64(&format!("case{case}.input_ids")).into_iter().map(|id| id as u32);
        let mut pictures = Vec::new();
        if case < 2 {
            let pixels = self.f32(&format!("case{case}.pixel_values"));
            let grids = self.i64(&format!("case{case}.grid_thw"));
            let mut at = 0;
            for grid in grids.chunks_exact(3) {
                let grid = [grid[0] as usize, grid[1] as usize, grid[2] as usize];
                let values = grid.iter().product::<usize>() * 1176;
                pictures.push(Patches { grid, pixels: pixels[at..at + values].to_vec() });
                at += values;
            }
        }
        Prompt { ids: ids.collect(), pictures }
    }

    pub fn model(&self) -> Model {
        let folder = self.folder.join("model");
        let config = QwenConfig::read(&folder).unwrap();
        Model::open(&folder, &config, Device::flex(), FloatDType::F32).unwrap()
    }

    pub fn adapter(&self, model: &Model, device: &Device) -> Adapter {
        let bytes = fs::read(self.folder.join("adapter/adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let read = |name: &str| {
            let at = |part: &str| format!("base_model.model.{name}.lora_{part}.weight");
            tensors.tensor(&at("A")).ok()?;
            let (shape, a) = f32s(&tensors, &at("A"));
            Some(PairData { rank: shape[0], a, b: f32s(&tensors, &at("B")).1, scale: 2.0 })
        };
        Adapter::from_data(model.layers(), read, device).unwrap()
    }
}

fn f32s(tensors: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let bytes = view.data().chunks_exact(4);
    let values = bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (view.shape().to_vec(), values)
}
