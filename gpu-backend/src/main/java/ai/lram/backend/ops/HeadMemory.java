package ai.lram.backend.ops;

import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;

/**
 * Which tokens {@link SessionOps#decide} reads, its working memory and its logits for a batch of B rows.
 *
 * @param x (B, L, D) F32
 * @param token the one that is read, of each row
 * @param read (B, D), for these tokens. With one row they are that part of x
 * @param normed (B, D) F32
 * @param logits (B, N) F32, a result
 */
public record HeadMemory(Tensor x, int token, Tensor read, Tensor normed, Tensor logits) {
    public HeadMemory {
        if (x.rank() != 3 || token < 0 || token >= x.dim(1)) {
            throw new ShapeMismatchException(
                    "head of token " + token + " of " + x, "x is (B, L, D)", "name a token of a row");
        }
        long there = x.address() + (long) Float.BYTES * token * x.dim(2);
        if (read.size() != (long) x.dim(0) * x.dim(2) || x.dim(0) == 1 && read.address() != there) {
            throw new ShapeMismatchException(
                    "head's memory " + read, "it is (B, D), and with one row part of " + x, "use HeadMemory.of");
        }
    }

    /** @param spare (B, D) at least, for the tokens of more than one row */
    public static HeadMemory of(Tensor x, int token, Tensor spare, Tensor normed, Tensor logits) {
        int rows = x.dim(0);
        int width = x.dim(2);
        Tensor read = rows == 1 ? x.view((long) token * width, 1, width) : spare.slice(0, rows);
        return new HeadMemory(x, token, read, normed, logits);
    }
}
