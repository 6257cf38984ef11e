//! Softmax attention of grouped heads. The G answers of a task attend to their prompt's keys
//! and values without a copy of them, in training and in generation alike.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, Int, activation},
};

/// Queries of one chunk: bounds the scores to `heads x QUERIES x keys`.
const QUERIES: usize = 512;

/// What a masked score is raised by: finite, so that bfloat16 holds it, and low enough that
/// its exponential is zero.
const MASKED: f32 = -1e30;

/// Row `i` of the mask `[rows, cols]` lets it see `offset + i + 1` columns: 0 there, a very
/// low number elsewhere.
pub fn causal_mask(rows: usize, cols: usize, offset: usize, device: &Device) -> Tensor<2> {
    let last = (offset as i64)..((offset + rows) as i64);
    let last = Tensor::<1, Int>::arange(last, device).unsqueeze_dim::<2>(1);
    let cols = Tensor::<1, Int>::arange(0..cols as i64, device).unsqueeze_dim::<2>(0);
    let hidden = cols.greater(last).float();
    hidden.cast(FloatDType::F32).mul_scalar(MASKED)
}

/// Softmax over the last dimension in float32, times `1 / sqrt(head_dim)` before it.
fn weights<const D: usize>(scores: Tensor<D>, mask: Option<Tensor<D>>, dim: usize) -> Tensor<D> {
    let given = FloatDType::from(scores.dtype());
    let scores = scores.cast(FloatDType::F32).mul_scalar(1.0 / (dim as f64).sqrt());
    let scores = match mask {
        Some(mask) => scores + mask,
        None => scores,
    };
    activation::softmax(scores, D - 1).cast(given)
}

/// Attention in which every query sees every key: `q`, `k`, `v` are `[batch, heads, rows,
/// head_dim]`, and so is what is given back.
pub fn full(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let [_, _, rows, dim] = q.dims();
    let keys = k.swap_dims(2, 3);
    let chunk = |start: usize| {
        let q = q.clone().narrow(2, start, QUERIES.min(rows - start));
        weights(q.matmul(keys.clone()), None, dim).matmul(v.clone())
    };
    joined((0..rows).step_by(QUERIES).map(chunk).collect(), 2)
}

/// Keys or values `[rows, kv_heads, head_dim]` by head: `[kv_heads, rows, head_dim]`.
pub fn by_head(x: Tensor<3>) -> Tensor<3> {
    x.swap_dims(0, 1)
}

/// Causal attention of a prompt over itself. `q`: `[rows, heads, head_dim]`, `k` and `v`:
/// `[kv_heads, rows, head_dim]`; gives `[rows, heads * head_dim]`.
pub fn causal(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>) -> Tensor<2> {
    let [rows, heads, dim] = q.dims();
    let [kv_heads, _, _] = k.dims();
    let group = heads / kv_heads;
    let chunk = |start: usize| {
        let n = QUERIES.min(rows - start);
        let seen = start + n;
        let q = q.clone().narrow(0, start, n).reshape([n, kv_heads, group, dim]);
        let q = q.permute([1, 2, 0, 3]).reshape([kv_heads, group * n, dim]);
        let k = k.clone().narrow(1, 0, seen).swap_dims(1, 2);
        let scores = q.matmul(k).reshape([kv_heads, group, n, seen]);
        let mask = causal_mask(n, seen, start, &scores.device().inner());
        let weights = weights(scores, Some(mask.unsqueeze()), dim);
        let out = weights
            .reshape([kv_heads, group * n, seen])
            .matmul(v.clone().narrow(1, 0, seen))
            .reshape([kv_heads, group, n, dim]);
        out.permute([2, 0, 1, 3]).reshape([n, heads * dim])
    };
    joined((0..rows).step_by(QUERIES).map(chunk).collect(), 0)
}

/// Attention of G answers over their shared prompt and over themselves.
///
/// `q`: `[answers * rows, heads, head_dim]`; `prompt`: keys and values `[kv_heads, prompt,
/// head_dim]`; `own`: keys and values `[answers, kv_heads, len, head_dim]`; `mask`: `[rows,
/// prompt + len]`, added to the scores. Gives `[answers * rows, heads * head_dim]`.
pub fn shared(
    q: Tensor<3>,
    prompt: (Tensor<3>, Tensor<3>),
    own: (Tensor<4>, Tensor<4>),
    mask: Tensor<2>,
) -> Tensor<2> {
    let [total, heads, dim] = q.dims();
    let [answers, kv_heads, len, _] = own.0.dims();
    let [_, seen, _] = prompt.0.dims();
    let (group, rows) = (heads / kv_heads, total / answers);
    let q = q.reshape([answers, rows, kv_heads, group, dim]);

    // One product with the prompt's keys for all answers together.
    let of_prompt = q.clone().permute([2, 3, 0, 1, 4]);
    let of_prompt = of_prompt.reshape([kv_heads, group * answers * rows, dim]);
    let prompt_scores = of_prompt.matmul(prompt.0.swap_dims(1, 2));
    let prompt_scores = prompt_scores.reshape([kv_heads, group, answers, rows, seen]);

    let of_own = q.permute([0, 2, 3, 1, 4]).reshape([answers, kv_heads, group * rows, dim]);
    let own_scores = of_own.matmul(own.0.swap_dims(2, 3));
    let own_scores = own_scores.reshape([answers, kv_heads, group, rows, len]);
    let own_scores = own_scores.permute([1, 2, 0, 3, 4]);

    let scores = Tensor::cat(vec![prompt_scores, own_scores], 4);
    let weights = weights(scores, Some(mask.unsqueeze()), dim);

    let on_prompt = weights.clone().narrow(4, 0, seen);
    let on_prompt = on_prompt.reshape([kv_heads, group * answers * rows, seen]).matmul(prompt.1);
    let on_prompt = on_prompt.reshape([kv_heads, group, answers, rows, dim]);
    let on_own = weights.narrow(4, seen, len).permute([2, 0, 1, 3, 4]);
    let on_own = on_own.reshape([answers, kv_heads, group * rows, len]).matmul(own.1);
    let on_own = on_own.reshape([answers, kv_heads, group, rows, dim]);

    let out = on_prompt.permute([2, 3, 0, 1, 4]) + on_own.permute([0, 3, 1, 2, 4]);
    out.reshape([total, heads * dim])
}

fn joined<const D: usize>(mut parts: Vec<Tensor<D>>, dim: usize) -> Tensor<D> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, dim),
    }
}
