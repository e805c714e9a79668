package ai.lram.agent.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SafetensorsTest {
    private static final String GOOD = "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}";

    @TempDir
    Path temp;

    @Test
    void whatIsWrittenIsReadBackBitByBit() {
        Path file = temp.resolve("x.safetensors");
        float[] floats = {1.5f, -0f, Float.NaN, Float.MIN_VALUE, Float.POSITIVE_INFINITY, 3e38f};
        new SafetensorsWriter()
                .metadata("note", "ä \"quoted\"")
                .add("bytes", HostTensor.of(new byte[] {1, -1, 127}, 3))
                .add("floats", HostTensor.of(floats, 2, 3))
                .add("longs", HostTensor.of(new long[] {Long.MIN_VALUE, 7}, 2))
                .add("ints", HostTensor.of(new int[] {-1, 2, 3, 4}, 2, 2))
                .add("empty", HostTensor.of(new float[0], 0, 5))
                .add("scalar", HostTensor.of(new float[] {4f}))
                .write(file);
        try (Safetensors s = Safetensors.open(file)) {
            assertEquals("ä \"quoted\"", s.metadata().get("note"));
            assertEquals(6, s.names().size());
            int[] bits = new int[6];
            float[] read = s.tensor("floats").floats();
            for (int i = 0; i < 6; i++) {
                bits[i] = Float.floatToRawIntBits(read[i]);
            }
            int[] want = new int[6];
            for (int i = 0; i < 6; i++) {
                want[i] = Float.floatToRawIntBits(floats[i]);
            }
            assertArrayEquals(want, bits);
            assertArrayEquals(new int[] {2, 3}, s.tensor("floats").shape());
            assertArrayEquals(new long[] {Long.MIN_VALUE, 7}, s.tensor("longs").longs());
            assertArrayEquals(new int[] {-1, 2, 3, 4}, s.tensor("ints").ints());
            assertArrayEquals(new int[] {1, 255, 127}, s.tensor("bytes").ints());
            assertEquals(0, s.tensor("empty").size());
            assertArrayEquals(new int[0], s.tensor("scalar").shape());
            assertArrayEquals(new float[] {4f}, s.tensor("scalar").floats());
        }
        assertEquals(List.of("x.safetensors"), names());
    }

    @Test
    void narrowTypesAreWidenedExactly() throws IOException {
        ByteBuffer data = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
        data.putDouble(0.1)
                .putShort((short) 0x3FC0)
                .putShort((short) 0xC000)
                .putShort((short) 0x3E00)
                .putShort((short) 0xBC00);
        Path file = raw(
                """
                {"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},
                 "b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},
                 "h":{"dtype":"F16","shape":[2],"data_offsets":[12,16]}}""",
                data.array());
        try (Safetensors s = Safetensors.open(file)) {
            assertArrayEquals(new float[] {0.1f}, s.tensor("d").floats());
            assertArrayEquals(new float[] {1.5f, -2f}, s.tensor("b").floats());
            assertArrayEquals(new float[] {1.5f, -1f}, s.tensor("h").floats());
            assertThrows(
                    IncompatibleCheckpointException.class, () -> s.tensor("d").ints());
            assertThrows(
                    IncompatibleCheckpointException.class, () -> s.tensor("b").longs());
            assertThrows(IncompatibleCheckpointException.class, () -> s.tensor("missing"));
        }
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "shape too large for its bytes  | `\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}`          | needs 12 bytes",
                "larger than the file           | `\"a\":{\"dtype\":\"F32\",\"shape\":[2147483647,2147483647,2147483647],\"data_offsets\":[0,8]}` | larger than the file",
                "offsets past the end           | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}`         | has 8 bytes of data",
                "offsets reversed               | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}`          | lies at 8..0",
                "negative offset                | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}`         | not two positions",
                "huge offset                    | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999]}` | not two positions",
                "fractional offset              | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}`        | not two positions",
                "negative size                  | `\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}`         | sizes are integers",
                "shape no list                  | `\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}`            | not a list",
                "key missing                    | `\"a\":{\"dtype\":\"F32\",\"shape\":[2]}`                                 | does not consist of",
                "key too much                   | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}`  | does not consist of",
                "entry no object                | `\"a\":7`                                                                 | does not consist of",
                "bytes left over                | `\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}`          | end at byte 4 of 8",
                "gap at the start               | `\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}`          | leave a gap",
                "overlap                        | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}` | overlap",
                "same name twice                | `\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}` | broken JSON",
                "metadata no object             | `\"__metadata__\":[],\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}`     | not an object",
                "metadata no text               | `\"__metadata__\":{\"k\":1},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}` | is not text"
            })
    void lyingHeadersAreRefused(String name, String entries, String why) throws IOException {
        Path file = raw("{" + entries + "}", new byte[8]);
        CorruptCheckpointException e = assertThrows(CorruptCheckpointException.class, () -> Safetensors.open(file));
        assertTrue(e.getMessage().contains(why), e.getMessage());
        assertTrue(e.getMessage().contains("; why: ") && e.getMessage().contains("; fix: "), e.getMessage());
        Files.delete(file);
    }

    @Test
    void anUnknownTypeIsNamed() throws IOException {
        Path file = raw("{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,8]}}", new byte[8]);
        IncompatibleCheckpointException e =
                assertThrows(IncompatibleCheckpointException.class, () -> Safetensors.open(file));
        assertTrue(e.getMessage().contains("\"F4\""), e.getMessage());
    }

    @ParameterizedTest
    @CsvSource({"-1", "9223372036854775807", "100000001", "1000", "0", "1"})
    void headerLengthsThatCannotBeAreRefused(long length) throws IOException {
        Path file = temp.resolve("length");
        Files.write(
                file,
                ByteBuffer.allocate(100)
                        .order(ByteOrder.LITTLE_ENDIAN)
                        .putLong(length)
                        .array());
        assertThrows(CorruptCheckpointException.class, () -> Safetensors.open(file));
    }

    @Test
    void brokenTextIsRefused() throws IOException {
        for (String json : List.of("{", "[]", "null", "{} {}", "{\"a\":", "\u0000\u0001", "{}x", "[".repeat(100_000))) {
            Path file = raw(json, new byte[0]);
            assertThrows(
                    CorruptCheckpointException.class,
                    () -> Safetensors.open(file),
                    json.substring(0, Math.min(9, json.length())));
        }
    }

    @Test
    void everyTruncationIsNoticed() throws IOException {
        Path file = raw("{" + GOOD + "}", new byte[8]);
        byte[] whole = Files.readAllBytes(file);
        Safetensors.open(file).close();
        for (int n = 0; n < whole.length; n++) {
            Files.write(file, Arrays.copyOf(whole, n));
            assertThrows(CorruptCheckpointException.class, () -> Safetensors.open(file), "cut to " + n + " bytes");
        }
    }

    @Test
    void noSingleByteOfTheHeaderBreaksTheReader() throws IOException {
        Path file = raw("{" + GOOD + "}", new byte[8]);
        byte[] whole = Files.readAllBytes(file);
        Random random = new Random(4);
        int refused = 0;
        for (int i = 0; i < whole.length - 8; i++) {
            byte[] bad = whole.clone();
            bad[i] ^= (byte) (1 + random.nextInt(255));
            Files.write(file, bad);
            try (Safetensors s = Safetensors.open(file)) {
                assertEquals(1, s.names().size(), "only a renamed tensor or key order may pass");
            } catch (CheckpointException e) {
                refused++;
            }
        }
        assertTrue(refused > 50, "refused " + refused);
    }

    @Test
    void aMissingFileAndAFolderAreReadErrors() {
        assertThrows(CheckpointReadException.class, () -> Safetensors.open(temp.resolve("nowhere")));
        assertThrows(CheckpointReadException.class, () -> Safetensors.open(temp));
    }

    @Test
    void aFolderThatIsNotThereIsAWriteError() {
        Path file = temp.resolve("no/such/x.safetensors");
        CheckpointWriteException e = assertThrows(CheckpointWriteException.class, () -> new SafetensorsWriter()
                .add("a", HostTensor.of(new float[1], 1))
                .write(file));
        assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
        assertFalse(Files.exists(file));
    }

    @Test
    void aTensorKnowsItsSize() {
        assertThrows(
                IllegalArgumentException.class,
                () -> new HostTensor(
                        ElementType.F32,
                        new int[] {2},
                        java.lang.foreign.Arena.ofAuto().allocate(7)));
        assertThrows(IllegalArgumentException.class, () -> HostTensor.of(new int[2], -1));
    }

    private List<String> names() {
        try (var list = Files.list(temp)) {
            return list.map(p -> p.getFileName().toString()).sorted().toList();
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private Path raw(String json, byte[] data) throws IOException {
        byte[] header = json.getBytes(StandardCharsets.UTF_8);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(8)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(0, header.length)
                .array());
        out.write(header);
        out.write(data);
        Path file = temp.resolve("raw.safetensors");
        Files.write(file, out.toByteArray());
        return file;
    }
}
