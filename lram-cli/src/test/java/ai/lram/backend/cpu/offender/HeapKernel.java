package ai.lram.backend.cpu.offender;

import ai.lram.cli.Lram;
import java.lang.foreign.MemorySegment;

/** Breaks what {@code ArchitectureTest} forbids, so that the test can show that it looks. */
final class HeapKernel {
    private HeapKernel() {}

    static MemorySegment wrap(float[] values) {
        System.out.println(Lram.commandLine().getCommandName());
        return MemorySegment.ofArray(values);
    }
}
