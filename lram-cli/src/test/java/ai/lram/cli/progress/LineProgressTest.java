package ai.lram.cli.progress;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

class LineProgressTest {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private long now;

    private LineProgress progress() {
        return new LineProgress(
                "job", new PrintStream(bytes, true, StandardCharsets.UTF_8), 10_000_000_000L, () -> now);
    }

    private List<String> lines() {
        return bytes.toString(StandardCharsets.UTF_8).lines().toList();
    }

    @Test
    void printsTheFirstStateOnePerIntervalAndTheLast() {
        LineProgress p = progress();
        for (int i = 0; i <= 25; i++) {
            now = i * 1_000_000_000L;
            p.update(i / 50.0, "at " + i);
        }
        p.close();
        assertEquals(
                List.of(
                        "job:   0%, 0:00, at 0",
                        "job:  20%, 0:10, 0:40 left, at 10",
                        "job:  40%, 0:20, 0:30 left, at 20",
                        "job:  50%, 0:25, 0:25 left, at 25"),
                lines());
    }

    @Test
    void saysNoPercentWhereTheEndIsNotKnown() {
        LineProgress p = progress();
        now = 61_000_000_000L;
        p.update(-1, "7 rows");
        p.close();
        assertEquals(List.of("job: 1:01, 7 rows"), lines());
    }
}
