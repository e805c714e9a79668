package ai.lram.backend.ops;

import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;

/** Table look-up. */
public interface EmbeddingOps {
    /** y[m,:] = table[ids[m],:]; ids I32 [M] within 0..V-1 (checked on the host engine), table (V,D). */
    void lookup(Stream s, Tensor ids, Tensor table, Tensor y);

    /** dtable[ids[m],:] += dy[m,:]. */
    void lookupBackward(Stream s, Tensor ids, Tensor dy, Tensor dtable);
}
