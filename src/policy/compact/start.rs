//! Weight decay towards the weights of a start (L2-SP, Li et al. 2018).

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
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

/// A head whose weights AdamW has just drawn to zero by `part`, drawn to `start` instead:
/// `w + part start`.
pub(super) fn drawn_to(head: Head, start: &Head, part: f64) -> Head {
    struct Draw {
        start: GradientsParams,
        part: f64,
    }
    impl ModuleMapper for Draw {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(start) = self.start.get::<D>(param.id) else { return param };
            let added = start.mul_scalar(self.part);
            param.map(|weights| {
                let moved = weights.inner() + added;
                Tensor::from_inner(moved).require_grad()
            })
        }
    }
    head.map(&mut Draw { start: weights_of(start), part })
}
