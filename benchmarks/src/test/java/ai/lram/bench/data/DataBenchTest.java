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
import java.nio.file.Files;
import java.nio.file.Path;
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
        assertEquals(List.of("windows", "open-100-episodes", "open-1000-episodes", "import"), names);
        for (Result r : run.results()) {
            assertTrue(r.value() > 0 && Double.isFinite(r.value()), r.toString());
        }
        Result windows = run.headlines().getFirst();
        assertTrue(windows.floor() > 0 && windows.high() == windows.value(), windows.toString());
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
