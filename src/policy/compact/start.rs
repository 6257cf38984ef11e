//! Weight decay towards the weights of a start (L2-SP, Li et al. 2018).

use std::collections::HashSet;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
};

use super::head::Head;

/// The learning weights of a head by their ids.
fn weights_of(head: &Head) -> GradientsParams {
    struct Copy(GradientsParams);
    impl ModuleVisitor for Copy {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.0.register(param.id, param.val().inner());
            }
        }
    }
    let mut copy = Copy(GradientsParams::new());
    head.visit(&mut copy);
    copy.0
}

/// The weights that a step will touch: those with a gradient. AdamW leaves the others as they
/// are, its decay included; so a part of the head of which no task of the step asked anything
/// stays what it was.
pub(super) fn touched(head: &Head, gradients: &GradientsParams) -> HashSet<ParamId> {
    struct Touched<'g> {
        gradients: &'g GradientsParams,
        ids: HashSet<ParamId>,
    }
    impl ModuleVisitor for Touched<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.gradients.get::<D>(param.id).is_some() {
                self.ids.insert(param.id);
            }
        }
    }
    let mut touched = Touched { gradients, ids: HashSet::new() };
    head.visit(&mut touched);
    touched.ids
}

/// A head whose `touched` weights AdamW has just drawn to zero by `part`, drawn to `start`
/// instead: `w + part start`.
pub(super) fn drawn_to(head: Head, start: &Head, part: f64, touched: &HashSet<ParamId>) -> Head {
    struct Draw<'t> {
        start: GradientsParams,
        part: f64,
        touched: &'t HashSet<ParamId>,
    }
    impl ModuleMapper for Draw<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if !self.touched.contains(&param.id) {
                return param;
            }
            let Some(start) = self.start.get::<D>(param.id) else { return param };
            let added = start.mul_scalar(self.part);
            param.map(|weights| {
                let moved = weights.inner() + added;
                Tensor::from_inner(moved).require_grad()
            })
        }
    }
    head.map(&mut Draw { start: weights_of(start), part, touched })
}

/// A head between two: `from + part (to - from)`, weight by weight.
pub(super) fn between(from: &Head, to: &Head, part: f64) -> Head {
    struct Blend {
        from: GradientsParams,
        part: f64,
    }
    impl ModuleMapper for Blend {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(from) = self.from.get::<D>(param.id) else { return param };
            let part = self.part;
            param.map(|weights| {
                let to = weights.inner();
                let blended = from.clone() + (to - from).mul_scalar(part);
                Tensor::from_inner(blended).require_grad()
            })
        }
    }
    to.clone().map(&mut Blend { from: weights_of(from), part })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use crate::policy::compact::{CompactConfig, CompactPolicy};

    #[test]
    fn a_blend_lies_between_two_heads_weight_by_weight() {
        let random =
            |seed| CompactPolicy::new(CompactConfig::default(), seed, Device::flex()).unwrap();
        let (from, to) = (random(1), random(2));
        let weights = |policy: &CompactPolicy| -> Vec<f32> {
            let file = policy.weights().unwrap();
            let file = safetensors::SafeTensors::deserialize(&file).unwrap();
            let mut names = file.names();
            names.sort();
            let values = names.into_iter().flat_map(|name| {
                let data = file.tensor(name).unwrap().data().to_vec();
                data.chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect::<Vec<_>>()
            });
            values.collect()
        };
        let (all_from, all_to) = (weights(&from), weights(&to));
        assert_ne!(all_from, all_to);
        assert_eq!(weights(&to.blended(&from, 0.0)), all_from);
        for (part, blend) in [(0.25, to.blended(&from, 0.25)), (1.0, to.blended(&from, 1.0))] {
            for ((from, to), got) in all_from.iter().zip(&all_to).zip(weights(&blend)) {
                assert!((got - (from + part * (to - from))).abs() < 1e-6, "{from} {to} {got}");
            }
        }
    }
}
