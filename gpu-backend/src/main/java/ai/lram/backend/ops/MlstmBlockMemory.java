package ai.lram.backend.ops;

import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;

/**
 * Working memory of {@link SessionOps#mlstmBlock} for a batch of B rows of L tokens, shared by all blocks; its contents mean nothing between calls.
 *
 * @param normed (B, L, D); {@code y} alike
 * @param u (B, L, I); {@code z}, {@code conv}, {@code c}, {@code mixed} alike
 * @param q (B, L, NH, I/NH); {@code k}, {@code v}, {@code h} alike
 * @param inputGate (B, L, NH); {@code forgetGate} alike
 */
public record MlstmBlockMemory(
        Tensor normed,
        Tensor u,
        Tensor z,
        Tensor conv,
        Tensor c,
        Tensor q,
        Tensor k,
        Tensor v,
        Tensor inputGate,
        Tensor forgetGate,
        Tensor h,
        Tensor mixed,
        Tensor y) {
    public static MlstmBlockMemory allocate(TensorArena arena, int batch, int tokens, int width, int inner, int heads) {
        return new MlstmBlockMemory(
                arena.f32(batch, tokens, width),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, heads),
                arena.f32(batch, tokens, heads),
                arena.f32(batch, tokens, heads, inner / heads),
                arena.f32(batch, tokens, inner),
                arena.f32(batch, tokens, width));
    }

    /** The same memory for the first {@code batch} rows. */
    public MlstmBlockMemory rows(int batch) {
        return new MlstmBlockMemory(
                normed.slice(0, batch),
                u.slice(0, batch),
                z.slice(0, batch),
                conv.slice(0, batch),
                c.slice(0, batch),
                q.slice(0, batch),
                k.slice(0, batch),
                v.slice(0, batch),
                inputGate.slice(0, batch),
                forgetGate.slice(0, batch),
                h.slice(0, batch),
                mixed.slice(0, batch),
                y.slice(0, batch));
    }
}
