package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ResultLinesTest {
    private static final Host HOST = new Host("abc123", "25.0.3", "a processor, 2 processors", null);
    private static final Result FULL =
            new Result("step", "step-16m-fp32-1t", 3.0, "ms", Better.LOWER, 1.5, 4.5, 2000, 2.5, 3.5, "beside a peer");

    @TempDir
    Path temp;

    @Test
    void aLineHasEveryFieldInOrder() throws IOException {
        JsonNode n = new ObjectMapper().readTree(ResultLines.line(FULL, HOST));
        List<String> names = new ArrayList<>();
        n.fieldNames().forEachRemaining(names::add);
        assertEquals(
                List.of(
                        "bench", "case", "value", "unit", "better", "floor", "peer", "ratio", "samples", "commit",
                        "jdk", "cpu", "gpu", "low", "high", "note"),
                names);
        assertEquals(2.0, n.get("ratio").doubleValue(), "value over floor");
        assertEquals("lower", n.get("better").textValue());
        assertEquals("step-16m-fp32-1t", n.get("case").textValue());
        assertTrue(n.get("gpu").isNull());
        assertEquals(1.5, FULL.advantage(), "the peer takes half as long again");
    }

    @Test
    void whatIsAbsentIsNull() throws IOException {
        Result bare = Result.of("data", "rows", 1e6, "rows/s", Better.HIGHER, 5);
        JsonNode n = new ObjectMapper().readTree(ResultLines.line(bare, new Host(null, "25", "cpu", null)));
        for (String key : List.of("floor", "peer", "ratio", "commit", "gpu", "low", "high", "note")) {
            assertTrue(n.has(key) && n.get(key).isNull(), key);
        }
    }

    @Test
    void whatIsWrittenCanBeRead() throws IOException {
        Path file = temp.resolve("r.jsonl");
        Result bare = Result.of("data", "rows", 1e6, "rows/s", Better.HIGHER, 5);
        ResultLines.write(file, List.of(FULL, bare), HOST);
        assertEquals(2, Files.readAllLines(file).size());
        assertEquals(List.of(FULL, bare), ResultLines.read(file));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{",
                "[]",
                "{\"bench\":\"a\"}",
                "{\"bench\":\"a\",\"case\":\"b\",\"value\":\"x\",\"unit\":\"ms\",\"better\":\"lower\",\"samples\":1}",
                "{\"bench\":\"a\",\"case\":\"b\",\"value\":1,\"unit\":\"ms\",\"better\":\"bigger\",\"samples\":1}",
                "{\"bench\":\"a\",\"case\":\"b\",\"value\":1,\"unit\":\"ms\",\"better\":\"lower\",\"samples\":0}"
            })
    void aLineThatIsNoResultIsNamed(String line) throws IOException {
        Path file = temp.resolve("bad.jsonl");
        Files.writeString(file, ResultLines.line(FULL, HOST) + "\n" + line + "\n");
        BenchException e = assertThrows(BenchException.class, () -> ResultLines.read(file));
        assertTrue(e.getMessage().contains("line 2") && e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void filesWithoutResultsAreRefused() throws IOException {
        Path empty = Files.createFile(temp.resolve("empty"));
        Path latin = Files.write(temp.resolve("latin"), new byte[] {'{', (byte) 0xE9, '}'});
        Path huge = temp.resolve("huge");
        try (FileChannel channel = FileChannel.open(
                huge, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE, StandardOpenOption.SPARSE)) {
            channel.write(ByteBuffer.wrap(new byte[1]), 64L << 20);
        }
        for (Path file : List.of(empty, temp.resolve("none"), temp, latin, huge, Path.of("/dev/zero"))) {
            BenchException e = assertThrows(BenchException.class, () -> ResultLines.read(file));
            assertTrue(e.getMessage().contains(file.toString()), e.getMessage());
        }
    }
}
