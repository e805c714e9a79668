package ai.lram.backend.cuda;

import ai.lram.backend.Tensor;

/** The device's check of a batched step's slots and token counts, before anything is written. */
final class Rows {
    private final Engine engine;
    private final Kernel check;

    Rows(Engine engine, KernelModule session) {
        this.engine = engine;
        check = session.kernel("check_rows");
    }

    /**
     * A fault makes the kernels that follow do nothing and shows at the next synchronisation. Never begun before the kernel ahead of it has ended:
     * those behind it that begin early read slots, counts and caches before they wait for anything.
     */
    void check(Tensor slots, Tensor counts, int rows, int pool, int tokens) {
        engine.launch(check)
                .put(slots)
                .put(counts)
                .put(rows)
                .put(pool)
                .put(tokens)
                .faults()
                .run(1);
    }
}
