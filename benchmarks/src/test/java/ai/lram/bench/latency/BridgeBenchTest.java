package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.Latencies;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BridgeBenchTest {
    @TempDir
    Path temp;

    @Test
    void everyWayIsReportedBesideWhatBoundsIt() {
        Run run = new Run(what -> {});
        new BridgeBench(true).run(run);
        List<String> names = run.headlines().stream().map(Result::caseName).toList();
        assertEquals(
                List.of(
                        "hop-busy",
                        "hop-idle",
                        "bare-tcp-busy",
                        "bare-tcp-paced",
                        "bare-unix-busy",
                        "bare-unix-paced",
                        "local-busy",
                        "local-paced",
                        "tcp-busy",
                        "tcp-paced",
                        "unix-busy",
                        "unix-paced"),
                names);
        for (Result r : run.headlines()) {
            assertTrue(r.value() > 0, r.toString());
            assertEquals(r.caseName().startsWith("bare"), Double.isNaN(r.floor()), r.toString());
        }
    }

    @Test
    void hopsAreCounted() {
        try (Hops hops = new Hops()) {
            Latencies busy = hops.busy(101, 1);
            assertEquals(101, busy.count());
            assertTrue(busy.ms(50) > 0);
            assertEquals(3, hops.idle(3, 1).count());
        }
    }

    @Test
    void aBareSocketEchoes() {
        float[] observation = {1, 2};
        for (Robot robot : List.of(BareSocket.tcp(64), BareSocket.unix(temp.resolve("s"), 64))) {
            try (robot) {
                for (int i = 0; i < 3; i++) {
                    assertSame(
                            observation,
                            robot.act(observation, new byte[0], 0, i == 0).action());
                }
            }
        }
    }
}
