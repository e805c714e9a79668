package ai.lram.bench.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.dataset.Column;
import ai.lram.dataset.ProgressListener;
import ai.lram.dataset.convert.ImportJob;
import ai.lram.dataset.convert.ImportOptions;
import ai.lram.dataset.store.TrajectoryStore;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DataBenchTest {
    @TempDir
    Path temp;

    @Test
    void windowsOpeningAndImportAreReportedAndNothingIsLeft() throws IOException {
        Run run = new Run(what -> {});
        Path parent = Files.createDirectory(temp.resolve("parent"));
        new DataBench(true, parent).run(run);
        try (Stream<Path> left = Files.list(parent)) {
            assertEquals(List.of(), left.toList());
        }
        List<String> names = run.headlines().stream().map(Result::caseName).toList();
        assertEquals(
                List.of(
                        "windows",
                        "windows-garbage",
                        "windows-memory",
                        "open-100-episodes",
                        "open-100-episodes-memory",
                        "open-1000-episodes",
                        "open-1000-episodes-memory",
                        "import-40-episodes-memory",
                        "import-80-episodes-memory",
                        "import"),
                names);
        for (Result r : run.results()) {
            boolean memory = r.caseName().endsWith("-memory") || r.caseName().endsWith("-garbage");
            assertTrue(memory ? r.value() >= 0 : r.value() > 0, r.toString());
            assertTrue(Double.isFinite(r.value()), r.toString());
        }
        Result windows = run.headlines().getFirst();
        assertTrue(windows.floor() > 0 && windows.high() == windows.value(), windows.toString());
    }

    @Test
    void memoryThatIsHeldIsSeen() {
        long heap = LiveMemory.heapBytes();
        byte[] held = new byte[64 << 20];
        Arrays.fill(held, (byte) 1);
        assertTrue(LiveMemory.heapBytes() - heap > 60 << 20, "heap");
        assertEquals(1, held[held.length - 1]);
        try (Arena arena = Arena.ofConfined()) {
            long anonymous = LiveMemory.anonymousBytes();
            arena.allocate(64 << 20).fill((byte) 1);
            assertTrue(LiveMemory.anonymousBytes() - anonymous > 50 << 20, "anonymous");
        }
    }

    @Test
    void theSameNumbersComeByEitherWay() {
        MadeData.leRobot(temp.resolve("parquet"), 3, 20);
        ImportJob.importDataset(
                temp.resolve("parquet"), temp.resolve("imported"), ImportOptions.defaults(), ProgressListener.NONE);
        MadeData.store(temp.resolve("direct"), 3, 20);
        float[] a = new float[MadeData.ACTIONS];
        float[] b = new float[MadeData.ACTIONS];
        try (TrajectoryStore imported = TrajectoryStore.open(temp.resolve("imported"));
                TrajectoryStore direct = TrajectoryStore.open(temp.resolve("direct"))) {
            imported.readWindow(2, 19, 1, Column.ACTION, a, 0);
            direct.readWindow(2, 19, 1, Column.ACTION, b, 0);
        }
        assertEquals(MadeData.value(2, 19, MadeData.OBSERVATIONS), a[0]);
        assertEquals(a[MadeData.ACTIONS - 1], b[MadeData.ACTIONS - 1]);
    }
}
