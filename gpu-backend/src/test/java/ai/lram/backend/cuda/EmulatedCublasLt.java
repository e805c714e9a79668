package ai.lram.backend.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Products on the host, in the order of the driver's stream. */
final class EmulatedCublasLt extends ScriptedCublasLt {
    private final EmulatedDriver driver;

    EmulatedCublasLt(EmulatedDriver driver) {
        this.driver = driver;
    }

    @Override
    public int matmul(
            long handle,
            long product,
            MemorySegment alpha,
            long a,
            long layoutA,
            long b,
            long layoutB,
            MemorySegment beta,
            long c,
            long layoutC,
            long d,
            long layoutD,
            MemorySegment algorithm,
            long workspace,
            long workspaceBytes,
            long stream) {
        long kept = copyOf(product);
        Arena arena = Arena.ofAuto();
        MemorySegment scale = arena.allocate(4, 4).copyFrom(alpha.asSlice(0, 4));
        MemorySegment keep = arena.allocate(4, 4).copyFrom(beta.asSlice(0, 4));
        int[] status = new int[1];
        boolean fp16 = inFp16(layoutA) && inFp16(layoutB);
        driver.queue(() -> {
            driver.products++;
            driver.fp16Products += fp16 ? 1 : 0;
        });
        driver.queue(() -> status[0] = super.matmul(
                handle,
                kept,
                scale,
                a,
                layoutA,
                b,
                layoutB,
                keep,
                c,
                layoutC,
                d,
                layoutD,
                algorithm,
                workspace,
                workspaceBytes,
                stream));
        return status[0];
    }
}
