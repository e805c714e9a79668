package ai.lram.dataset;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.convert.ImportReport;
import ai.lram.dataset.sample.EpisodeSplit;
import ai.lram.dataset.sample.Window;
import ai.lram.dataset.sample.WindowSampler;
import ai.lram.dataset.store.TrajectoryStore;
import com.sun.management.ThreadMXBean;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Prints the speeds quoted in the module's README; asserts only what no machine should miss. */
class StoreSpeedTest {
    private static final int WINDOW = 50;

    @TempDir
    Path folder;

    @Test
    void windowsAreSlicesAndAllocateNothing() {
        Path source = RealData.require("unitree-g1-bottle");
        for (int run = 0; run < 3; run++) {
            long start = System.nanoTime();
            ImportReport report = ImportJob.importDataset(
                    source, folder.resolve("s" + run), ImportOptions.defaults(), ProgressListener.NONE);
            double seconds = (System.nanoTime() - start) * 1e-9;
            assertEquals(35_965, report.rows());
            System.out.printf("import run %d: %.0f rows/s%n", run, report.rows() / seconds);
        }
        long opened = System.nanoTime();
        try (TrajectoryStore store = TrajectoryStore.open(folder.resolve("s0"));
                Arena arena = Arena.ofConfined()) {
            System.out.printf("open: %.2f ms%n", (System.nanoTime() - opened) * 1e-6);
            MemorySegment batch = arena.allocate(WINDOW * 52 * 4L, 64);
            WindowSampler sampler = WindowSampler.builder(
                            store, EpisodeSplit.random(store, 0.1, 1).training())
                    .windowLength(WINDOW)
                    .mode(WindowSampler.Mode.FULL_LENGTH)
                    .build();
            Window window = new Window();
            ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
            double rate = 0;
            double allocated = Double.MAX_VALUE;
            for (int round = 0; round < 6 || allocated >= 1 && round < 200; round++) {
                int windows = 100_000;
                long bytes = threads.getCurrentThreadAllocatedBytes();
                long start = System.nanoTime();
                for (int i = 0; i < windows; i++) {
                    sampler.next(window);
                    store.readWindow(window.episode(), window.start(), window.length(), Column.OBSERVATION, batch, 0);
                    store.readWindow(
                            window.episode(), window.start(), window.length(), Column.ACTION, batch, WINDOW * 26 * 4L);
                }
                rate = Math.max(rate, windows / ((System.nanoTime() - start) * 1e-9));
                allocated = Math.min(allocated, (threads.getCurrentThreadAllocatedBytes() - bytes) / (double) windows);
            }
            System.out.printf(
                    "windows of %d x (26 + 26) floats: %.0f windows/s, %.1f GB/s copied, %.2f bytes allocated a window%n",
                    WINDOW, rate, rate * WINDOW * 52 * 4 * 1e-9, allocated);
            assertTrue(rate > 10_000, rate + " windows/s; decoding parquet reaches 190");
            assertTrue(allocated < 1, allocated + " bytes a window");
        }
    }
}
