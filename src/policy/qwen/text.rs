//! The language model: embeddings in, hidden states and log-probabilities out.

use burn::{
    Tensor,
    tensor::{Device, FloatDType, IndexingUpdateOp, Int, TensorData, activation},
};

use super::{
    QwenConfig, QwenError, attention,
    layers::{Loader, Mlp, Norm},
    linear::{Adapter, Linear},
    rope::{Position, Rope},
};

/// Rows of logits that exist at one time: with 152,000 words, 128 rows are 78 MB in float32.
pub(super) const LOGIT_ROWS: usize = 128;

/// How the rows of a packed group lie: the prompt's, then those of each answer in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Answers.
    pub answers: usize,
    /// Rows of each answer; a shorter one is padded at its end, where no token of it looks.
    pub rows: usize,
}

/// A packed group's layout with what its blocks need beside their input.
pub struct Packing {
    layout: Layout,
    rope: Rope,
    /// What each row of an answer sees, `[rows, prompt + rows]`.
    mask: Option<Tensor<2>>,
}

/// Keys and values by head, `[kv_heads, rows, head_dim]` each.
pub type KeysValues = (Tensor<3>, Tensor<3>);

#[derive(Debug)]
struct Block {
    norm1: Norm,
    norm2: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    mlp: Mlp,
    heads: usize,
    kv_heads: usize,
}

impl Block {
    /// Queries `[rows, heads, head_dim]`, keys and values `[rows, kv_heads, head_dim]`.
    fn project(&self, x: Tensor<2>, rope: &Rope, adapter: Option<&Adapter>) -> [Tensor<3>; 3] {
        let [rows, _] = x.dims();
        let x = self.norm1.forward(x);
        let split = |layer: &Linear, heads: usize| {
            let y = layer.forward(x.clone(), adapter);
            let dim = y.dims()[1] / heads;
            y.reshape([rows, heads, dim])
        };
        let (q, k) = (split(&self.q, self.heads), split(&self.k, self.kv_heads));
        [rope.apply(q), rope.apply(k), split(&self.v, self.kv_heads)]
    }

    /// `x` and what its rows attended to, both `[rows, width]`.
    fn finish(&self, x: Tensor<2>, attended: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        let x = x + self.o.forward(attended, adapter);
        x.clone() + self.mlp.forward(self.norm2.forward(x), adapter)
    }

    fn slots(&self) -> impl Iterator<Item = usize> {
        [&self.q, &self.k, &self.v, &self.o].map(Linear::slot).into_iter().chain(self.mlp.slots())
    }
}

/// The language model and its head.
#[derive(Debug)]
pub struct Text {
    /// `[vocabulary, hidden]`.
    embedding: Tensor<2>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    sections: [usize; 3],
    theta: f64,
    kv_heads: usize,
    head_dim: usize,
    vocabulary: usize,
    device: Device,
    dtype: FloatDType,
}

impl Text {
    /// Loads the language model; a tied head is the embedding itself.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen.
    pub fn load(config: &QwenConfig, loader: &mut Loader<'_>) -> Result<Self, QwenError> {
        let text = &config.text;
        let (hidden, dim) = (text.hidden, text.hidden / text.heads);
        let name = "model.language_model";
        let embedding =
            loader.tensor(&format!("{name}.embed_tokens.weight"), [text.vocabulary, hidden])?;
        let mut blocks = Vec::with_capacity(text.layers);
        for i in 0..text.layers {
            let at = |part: &str| format!("{name}.layers.{i}.{part}");
            let (wide, narrow) = (text.heads * dim, text.kv_heads * dim);
            blocks.push(Block {
                norm1: loader.norm(&at("input_layernorm"), hidden, text.norm_eps)?,
                norm2: loader.norm(&at("post_attention_layernorm"), hidden, text.norm_eps)?,
                q: loader.linear(&at("self_attn.q_proj"), hidden, wide, true)?,
                k: loader.linear(&at("self_attn.k_proj"), hidden, narrow, true)?,
                v: loader.linear(&at("self_attn.v_proj"), hidden, narrow, true)?,
                o: loader.linear(&at("self_attn.o_proj"), wide, hidden, false)?,
                mlp: Mlp::load(loader, &at("mlp"), hidden, text.intermediate, false)?,
                heads: text.heads,
                kv_heads: text.kv_heads,
            });
        }
        let norm = loader.norm(&format!("{name}.norm"), hidden, text.norm_eps)?;
        let head = match config.tied {
            true => loader.number("lm_head", embedding.clone(), None),
            false => loader.linear("lm_head", hidden, text.vocabulary, false)?,
        };
        Ok(Text {
            embedding,
            blocks,
            norm,
            head,
            sections: text.mrope_sections,
            theta: text.rope_theta,
            kv_heads: text.kv_heads,
            head_dim: dim,
            vocabulary: text.vocabulary,
            device: loader.device().clone(),
            dtype: loader.dtype(),
        })
    }

    /// How many blocks there are.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Words of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Embeddings of tokens, `[tokens, hidden]`.
    ///
    /// # Errors
    /// [`QwenError::Token`] for a token that the vocabulary does not have.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<2>, QwenError> {
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            return Err(QwenError::Token { id, vocabulary: self.vocabulary });
        }
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        Ok(self.embedding.clone().select(0, self.indices(ids)))
    }

    fn indices(&self, ids: Vec<i32>) -> Tensor<1, Int> {
        let n = ids.len();
        Tensor::from_data(TensorData::new(ids, [n]), &self.device)
    }

    /// The packing of a prompt with these positions, behind which `answers` answers of `rows`
    /// rows each go on at position `next`.
    pub fn packing(&self, prompt: &[Position], next: u32, answers: usize, rows: usize) -> Packing {
        let layout = Layout { prompt: prompt.len(), answers, rows };
        let mut positions = prompt.to_vec();
        (0..answers).for_each(|_| positions.extend((0..rows as u32).map(|i| [next + i; 3])));
        let mask = (answers * rows > 0).then(|| {
            attention::causal_mask(rows, layout.prompt + rows, layout.prompt, &self.device)
        });
        Packing { layout, rope: self.rope(&positions), mask }
    }

    fn rope(&self, positions: &[Position]) -> Rope {
        Rope::text(positions, self.sections, self.theta, &self.device, self.dtype)
    }

    /// Block `i` over a packed group, `[prompt + answers * rows, hidden]` to the same, and the
    /// prompt's keys and values.
    pub fn block(
        &self,
        i: usize,
        x: Tensor<2>,
        packing: &Packing,
        adapter: Option<&Adapter>,
    ) -> (Tensor<2>, KeysValues) {
        let block = &self.blocks[i];
        let Layout { prompt, answers, rows } = packing.layout;
        let [q, k, v] = block.project(x.clone(), &packing.rope, adapter);
        let of_prompt = |x: &Tensor<3>| x.clone().narrow(0, 0, prompt);
        let kv = (attention::by_head(of_prompt(&k)), attention::by_head(of_prompt(&v)));
        let mut attended = attention::causal(of_prompt(&q), kv.0.clone(), kv.1.clone());
        if let Some(mask) = &packing.mask {
            let of_answers = |x: Tensor<3>| x.narrow(0, prompt, answers * rows);
            let own = |x: Tensor<3>| {
                let x = of_answers(x).reshape([answers, rows, self.kv_heads, self.head_dim]);
                x.swap_dims(1, 2)
            };
            let own = (own(k), own(v));
            let answered = attention::shared(of_answers(q), kv.clone(), own, mask.clone());
            attended = Tensor::cat(vec![attended, answered], 0);
        }
        (block.finish(x, attended, adapter), kv)
    }

    /// One more token of each answer behind a prompt: embeddings `[answers, hidden]` to hidden
    /// states. Every block's keys and values of it go into `own`.
    pub fn next(
        &self,
        mut x: Tensor<2>,
        prompt: &[KeysValues],
        next: u32,
        own: &mut OwnCache,
        adapter: Option<&Adapter>,
    ) -> Tensor<2> {
        let [answers, _] = x.dims();
        let rope = self.rope(&vec![[next + own.filled as u32; 3]; answers]);
        let mask = own.mask(prompt);
        for ((i, block), prompt) in self.blocks.iter().enumerate().zip(prompt) {
            let [q, k, v] = block.project(x.clone(), &rope, adapter);
            let own = own.push(i, k, v);
            let attended = attention::shared(q, prompt.clone(), own, mask.clone());
            x = block.finish(x, attended, adapter);
        }
        own.filled += 1;
        x
    }

    /// Logits in float32, `[rows, hidden]` to `[rows, vocabulary]`.
    pub fn logits(&self, x: Tensor<2>, adapter: Option<&Adapter>) -> Tensor<2> {
        self.head.forward(self.norm.forward(x), adapter).cast(FloatDType::F32)
    }

    /// Log-probability of one token for each row at a temperature: `[rows, hidden]` to
    /// `[rows]`. At most as many rows as [`Text::chunks`] gives should be asked at once.
    pub fn log_probabilities(
        &self,
        x: Tensor<2>,
        tokens: &[u32],
        temperature: f64,
        adapter: Option<&Adapter>,
    ) -> Tensor<1> {
        let tokens: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let index = self.indices(tokens).unsqueeze_dim::<2>(1);
        let logits = self.logits(x, adapter).div_scalar(temperature);
        activation::log_softmax(logits, 1).gather(1, index).squeeze_dim(1)
    }

    /// Ranges of rows whose logits may exist at one time.
    pub fn chunks(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..rows).step_by(LOGIT_ROWS).map(move |start| start..rows.min(start + LOGIT_ROWS))
    }

    /// Some rows of hidden states.
    pub fn rows(&self, x: Tensor<2>, rows: &[usize]) -> Tensor<2> {
        x.select(0, self.indices(rows.iter().map(|&row| row as i32).collect()))
    }

    /// Adds `values` to some rows of `x`; a row may come more than once.
    pub fn add_rows(&self, x: Tensor<2>, rows: &[usize], values: Tensor<2>) -> Tensor<2> {
        let rows = self.indices(rows.iter().map(|&row| row as i32).collect());
        x.select_assign(0, rows, values, IndexingUpdateOp::Add)
    }

    /// Memory for the keys and values of answers, allocated once.
    pub fn own_cache(&self, answers: usize, tokens: usize) -> OwnCache {
        let tokens = tokens.next_multiple_of(STRIDE);
        let zeros = || {
            let shape = [answers, self.kv_heads, tokens, self.head_dim];
            Some(Tensor::zeros(shape, (&self.device, self.dtype.into())))
        };
        OwnCache {
            keys: self.blocks.iter().map(|_| zeros()).collect(),
            values: self.blocks.iter().map(|_| zeros()).collect(),
            filled: 0,
            device: self.device.clone(),
        }
    }

    /// The layers of block `i`, by number.
    pub fn block_slots(&self, i: usize) -> impl Iterator<Item = usize> {
        self.blocks[i].slots()
    }

    /// The head's number.
    pub fn head_slot(&self) -> usize {
        self.head.slot()
    }

    /// The device, without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

/// Attention looks at a multiple of so many places, so that few sizes of it exist.
pub(super) const STRIDE: usize = 32;

/// Keys and values of the answers' own tokens, `[answers, kv_heads, places, head_dim]` for
/// each block, written in place.
pub struct OwnCache {
    keys: Vec<Option<Tensor<4>>>,
    values: Vec<Option<Tensor<4>>>,
    filled: usize,
    device: Device,
}

impl OwnCache {
    /// Places that attention looks at while the next token is added.
    fn seen(&self) -> usize {
        (self.filled + 1).next_multiple_of(STRIDE)
    }

    /// What the next token sees, `[1, prompt + places]`.
    fn mask(&self, prompt: &[KeysValues]) -> Tensor<2> {
        let prompt = prompt.first().map_or(0, |(keys, _)| keys.dims()[1]);
        let last = prompt + self.filled;
        attention::causal_mask(1, prompt + self.seen(), last, &self.device)
    }

    /// Writes keys and values `[answers, kv_heads, head_dim]` and gives all that are there.
    fn push(&mut self, block: usize, k: Tensor<3>, v: Tensor<3>) -> (Tensor<4>, Tensor<4>) {
        let (at, seen) = (self.filled, self.seen());
        let write = |kept: &mut Option<Tensor<4>>, new: Tensor<3>| {
            let [answers, kv_heads, dim] = new.dims();
            let new = new.unsqueeze_dim::<4>(2);
            // Taken out, so that the only handle is written to and nothing is copied.
            let all = match kept.take() {
                Some(all) => all.slice_assign([0..answers, 0..kv_heads, at..at + 1, 0..dim], new),
                None => new,
            };
            *kept = Some(all.clone());
            all.narrow(2, 0, seen)
        };
        (write(&mut self.keys[block], k), write(&mut self.values[block], v))
    }
}
