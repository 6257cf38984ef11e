//! Weights between two heads: weight decay towards those of a start (L2-SP, Li et al. 2018),
//! and the head half way between two (Wortsman et al. 2022).

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
    sum(head, start, [1.0, part])
}

/// The head half way between two of the same shape: often as good as each in its own place.
pub(super) fn halfway(head: Head, other: &Head) -> Head {
    sum(head, other, [0.5, 0.5])
}

/// `parts[0] head + parts[1] other`, of the weights that learn.
fn sum(head: Head, other: &Head, parts: [f64; 2]) -> Head {
    struct Sum {
        other: GradientsParams,
        parts: [f64; 2],
    }
    impl ModuleMapper for Sum {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(other) = self.other.get::<D>(param.id) else { return param };
            let [own, part] = self.parts;
            let added = other.mul_scalar(part);
            param.map(|weights| {
                let moved = weights.inner().mul_scalar(own) + added;
                Tensor::from_inner(moved).require_grad()
            })
        }
    }
    head.map(&mut Sum { other: weights_of(other), parts })
}
