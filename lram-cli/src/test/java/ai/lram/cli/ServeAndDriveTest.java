package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.agent.policy.Policy;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.cli.scenario.Models;
import ai.lram.cli.scenario.Replay;
import ai.lram.cli.scenario.ServerProcess;
import ai.lram.dataset.store.TrajectoryStore;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A server process, and robots of this process that it controls. */
class ServeAndDriveTest {
    @TempDir
    static Path shared;

    @TempDir
    Path temp;

    private final CommandRunner lram = new CommandRunner();

    @BeforeAll
    static void makeModel() throws IOException {
        CommandRunner lram = new CommandRunner();
        lram.good(
                "data",
                "generate",
                "--task",
                "pendulum",
                "--episodes",
                "4",
                "--quality",
                "expert",
                "--out",
                shared.resolve("gen"));
        lram.good("data", "import", shared.resolve("gen/pendulum"), "--out", shared.resolve("store"));
        Files.writeString(
                shared.resolve("t.conf"),
                "lram.train { backbone { width = 32, blocks = 2, heads = 2 }, batch = 4, steps = 16, updates = 5, validate-every = 0 }");
        lram.good(
                "train",
                shared.resolve("store"),
                "--config",
                shared.resolve("t.conf"),
                "--out",
                shared.resolve("run"),
                "--device",
                "cpu");
    }

    private static ServerProcess server(String... arguments) {
        return ServerProcess.start(Lram.class, shared.resolve("run"), List.of(arguments));
    }

    @Test
    void aRobotIsDrivenAndItsEpisodesAreRecorded() throws IOException {
        Path json = temp.resolve("drive.json");
        try (ServerProcess server = server("--record", temp.resolve("rec").toString(), "--max-sessions", "2")) {
            lram.good(
                    "drive",
                    "--env",
                    "pendulum",
                    "--connect",
                    server.endpoint(),
                    "--episodes",
                    "2",
                    "--rate",
                    "50",
                    "--record",
                    "--json",
                    json);
            assertTrue(lram.out.contains("mean return -"), lram.out);
        }
        JsonNode n = new ObjectMapper().readTree(json.toFile());
        assertEquals(400, n.get("steps").intValue());
        assertEquals(
                List.of(1_000_000L, 1_000_001L),
                List.of(
                        n.get("episodes").get(0).get("seed").longValue(),
                        n.get("episodes").get(1).get("seed").longValue()));
        long causes = 0;
        for (JsonNode cause : n.get("missedByCause")) {
            causes += cause.longValue();
        }
        assertEquals(n.get("missed").longValue(), causes, "every miss has a cause");
        lram.good("data", "import", temp.resolve("rec/pendulum"), "--out", temp.resolve("store"));
        try (TrajectoryStore store = TrajectoryStore.open(temp.resolve("store"))) {
            assertEquals(2, store.episodeCount());
            for (int e = 0; e < 2; e++) {
                assertTrue(store.length(e) <= 200, "at most what was sent");
                if (n.get("missed").intValue() == 0) {
                    double recorded = store.episode(e).episodeReturn();
                    assertEquals(200, store.length(e));
                    assertEquals(
                            n.get("episodes").get(e).get("return").doubleValue(),
                            recorded,
                            1e-3 * Math.abs(recorded),
                            "what was recorded is what the robot experienced");
                }
            }
        }
    }

    @Test
    void aReplayGivesTheOfflineEvaluationsActionsExactly() throws IOException {
        Path json = temp.resolve("replay.json");
        try (ServerProcess server = server()) {
            lram.good(
                    "drive",
                    "--replay",
                    shared.resolve("store"),
                    "--episode",
                    "1",
                    "--connect",
                    server.endpoint(),
                    "--model",
                    shared.resolve("run"),
                    "--json",
                    json);
            assertTrue(lram.out.contains("every action equals the offline evaluation's"), lram.out);
            assertEquals(
                    200,
                    new ObjectMapper().readTree(json.toFile()).get("actions").size());
            assertTrue(lram.out.contains("200 steps"), lram.out);

            lram.bad(
                    "--episode 9",
                    "drive",
                    "--replay",
                    shared.resolve("store"),
                    "--episode",
                    "9",
                    "--connect",
                    server.endpoint());
            lram.bad("acrobot", "drive", "--env", "acrobot", "--connect", server.endpoint());
            lram.good("data", "generate", "--task", "acrobot", "--episodes", "1", "--out", temp.resolve("gen"));
            lram.good(
                    "data",
                    "import",
                    temp.resolve("gen/acrobot"),
                    "--out",
                    temp.resolve("other"),
                    "--task",
                    "pendulum");
            lram.bad(
                    "is not the server's",
                    "drive",
                    "--replay",
                    temp.resolve("other"),
                    "--episode",
                    "0",
                    "--connect",
                    server.endpoint());
        }
    }

    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"BF16", "I8"})
    void narrowWeightsAreServed(DType type) throws IOException {
        Path store = shared.resolve("store");
        Path json = temp.resolve("replay.json");
        try (ServerProcess server = server("--weights", type == DType.I8 ? "int8" : "bf16")) {
            lram.bad(
                    "other --weights",
                    "drive",
                    "--replay",
                    store,
                    "--episode",
                    "0",
                    "--connect",
                    server.endpoint(),
                    "--rate",
                    "200",
                    "--model",
                    shared.resolve("run"),
                    "--json",
                    json);
        }
        JsonNode replay = new ObjectMapper().readTree(json.toFile());
        assertEquals(0, replay.get("clamped").intValue());
        JsonNode served = replay.get("actions");
        try (Policy policy = Models.open(shared.resolve("run"), "cpu", 1, 1, 1, type, DType.F32);
                TrajectoryStore data = TrajectoryStore.open(store)) {
            float[][] expected = Replay.offline(policy, policy.card().tasks().getFirst(), data, 0);
            assertEquals(expected.length, served.size());
            for (int t = 0; t < expected.length; t++) {
                assertEquals(expected[t][0], served.get(t).get(0).floatValue(), "action of step " + t);
            }
        }
    }

    /** On a robot nobody wants another engine than the one asked for. */
    @Test
    void anEngineThatCannotBeUsedIsNotReplaced() {
        assumeTrue(
                Backends.providers().stream()
                        .noneMatch(p ->
                                p.name().equals("cuda") && p.whyUnavailable().isEmpty()),
                "skipped: this machine has a GPU");
        lram.bad("no engine for device=cuda", "serve", "--model", shared.resolve("run"), "--device", "cuda");
        assertFalse(lram.out.contains(ServerProcess.READY), lram.out);
    }

    @Test
    void badArgumentsEndWithTwo() throws IOException {
        Path run = shared.resolve("run");
        int free;
        try (ServerSocket socket = new ServerSocket(0)) {
            free = socket.getLocalPort();
            lram.bad("cannot listen", "serve", "--model", run, "--port", free);
        }
        lram.bad("nowhere", "serve", "--model", temp.resolve("nowhere"));
        lram.bad("max-sessions", "serve", "--model", run, "--max-sessions", "0");
        lram.bad("--expected-robots 0", "serve", "--model", run, "--expected-robots", "0");
        lram.bad("1..3", "serve", "--model", run, "--max-sessions", "3", "--expected-robots", "4");
        lram.bad("[fp32, bf16, int8]", "serve", "--model", run, "--weights", "int4");
        lram.bad("[fp32, bf16]", "serve", "--model", run, "--state", "int8");
        lram.bad("device=cuda", "serve", "--model", run, "--device", "cpu", "--state", "bf16");
        lram.bad("port", "serve", "--model", run, "--port", "70000");
        lram.bad("no engine for device=tpu", "serve", "--model", run, "--device", "tpu");
        Path conf = Files.writeString(temp.resolve("bad.conf"), "lram.bridge.lisen = x");
        lram.bad("lisen", "serve", "--model", run, "--config", conf);
        Path open = Files.writeString(temp.resolve("open.conf"), "lram.bridge.listen = \"0.0.0.0:0\"");
        lram.bad("neither encrypted nor authenticated", "serve", "--model", run, "--config", open);
        lram.bad("--record", "serve", "--model", run, "--record", conf);
        lram.bad("cannot reach", "drive", "--env", "pendulum", "--connect", "127.0.0.1:" + free);
        lram.bad("address", "drive", "--env", "pendulum", "--connect", "here");
        lram.bad("unknown environment", "drive", "--env", "pong", "--connect", "127.0.0.1:1");
        lram.bad("--rate", "drive", "--env", "pendulum", "--connect", "127.0.0.1:1", "--rate", "0");
        lram.bad("--episodes", "drive", "--env", "pendulum", "--connect", "127.0.0.1:1", "--episodes", "0");
        assertEquals(2, lram.run("drive", "--connect", "127.0.0.1:1"));
        assertEquals(2, lram.run("serve", "--model", run, "--port", "1", "--unix", "x"));
    }
}
