//! Parameters numbered in their order, so that an optimiser's state finds them again.

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param, ParamId},
};

/// A module whose parameters are numbered in their order. Burn draws their ids at random, but
/// the optimiser keeps its state by id: numbered, it finds it again in another process.
pub(super) fn numbered<M: Module>(module: M) -> M {
    struct Number(u64);
    impl ModuleMapper for Number {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let (_, value, mapper) = param.consume();
            Param::from_mapped_value(ParamId::from(self.0), value, mapper)
        }
    }
    module.map(&mut Number(0))
}
