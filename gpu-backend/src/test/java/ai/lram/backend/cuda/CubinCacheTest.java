package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.SequencedMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CubinCacheTest {
    private static final String KEY = "0123456789abcdef0123456789abcdef";

    @TempDir
    Path dir;

    private static byte[] image(long seed, int bytes) {
        byte[] image = new byte[bytes];
        new Random(seed).nextBytes(image);
        return image;
    }

    private CubinCache cache(long bound) {
        return new CubinCache(dir.resolve("cache"), bound);
    }

    private Path file(String key) {
        return dir.resolve("cache").resolve(key + ".cubin");
    }

    private List<Path> files() throws IOException {
        try (Stream<Path> all = Files.list(dir.resolve("cache"))) {
            return all.toList();
        }
    }

    @Test
    void whatIsStoredComesBack() throws IOException {
        byte[] image = image(1, 5000);
        CubinCache cache = cache(1 << 20);
        assertTrue(cache.load(KEY).isEmpty());
        cache.store(KEY, image);
        assertArrayEquals(image, cache.load(KEY).orElseThrow());
        assertArrayEquals(image, cache(1 << 20).load(KEY).orElseThrow(), "in another process's cache");
        assertEquals(List.of(file(KEY)), files(), "nothing is left beside it");
        assertTrue(cache.load("f" + KEY).isEmpty());
    }

    @Test
    void theFolderIsPrivate() throws IOException {
        cache(1 << 20).store(KEY, image(1, 10));
        assertEquals(
                "rwx------",
                PosixFilePermissions.toString(Files.getPosixFilePermissions(dir.resolve("cache"))),
                "what lies there is executed");
    }

    /** Every single flipped byte is noticed, wherever it is: in the magic, the checksum, the length or the image. */
    @Test
    void aDamagedFileIsThrownAway() throws IOException {
        byte[] image = image(2, 64);
        CubinCache cache = cache(1 << 20);
        cache.store(KEY, image);
        byte[] whole = Files.readAllBytes(file(KEY));
        for (int at = 0; at < whole.length; at++) {
            byte[] damaged = whole.clone();
            damaged[at] ^= 0x10;
            Files.write(file(KEY), damaged);
            assertTrue(cache.load(KEY).isEmpty(), "byte " + at);
            assertFalse(Files.exists(file(KEY)), "byte " + at);
        }
        cache.store(KEY, image);
        assertArrayEquals(image, cache.load(KEY).orElseThrow());
    }

    @ParameterizedTest
    @ValueSource(ints = {0, 7, 47, 48, 111})
    void aTruncatedFileIsThrownAway(int length) throws IOException {
        CubinCache cache = cache(1 << 20);
        cache.store(KEY, image(3, 64));
        Files.write(file(KEY), Arrays.copyOf(Files.readAllBytes(file(KEY)), length));
        assertTrue(cache.load(KEY).isEmpty());
        assertFalse(Files.exists(file(KEY)));
    }

    @Test
    void anAbsurdLengthIsNotBelieved() throws IOException {
        CubinCache cache = cache(1 << 20);
        cache.store(KEY, image(3, 64));
        byte[] whole = Files.readAllBytes(file(KEY));
        ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).putLong(40, Long.MAX_VALUE);
        Files.write(file(KEY), whole);
        assertTrue(cache.load(KEY).isEmpty());
    }

    @Test
    void theLeastRecentlyUsedGoFirst() throws IOException {
        CubinCache cache = cache(3 * (1000 + 48));
        for (int i = 0; i < 3; i++) {
            cache.store(KEY + i, image(i, 1000));
            Files.setLastModifiedTime(file(KEY + i), FileTime.fromMillis(1_000_000 + i));
        }
        assertTrue(cache.load(KEY + 0).isPresent(), "used now");
        cache.store(KEY + 3, image(3, 1000));
        assertTrue(Files.exists(file(KEY + 0)));
        assertFalse(Files.exists(file(KEY + 1)), "the one used longest ago");
        assertTrue(Files.exists(file(KEY + 2)));
        assertTrue(Files.exists(file(KEY + 3)));
    }

    @Test
    void whatACrashedProcessLeftIsRemovedWhenOld() throws IOException {
        CubinCache cache = cache(1 << 20);
        cache.store(KEY, image(1, 10));
        Path old = Files.writeString(dir.resolve("cache").resolve(".old.tmp"), "half");
        Files.setLastModifiedTime(old, FileTime.fromMillis(System.currentTimeMillis() - TimeUnit.HOURS.toMillis(2)));
        Path young = Files.writeString(dir.resolve("cache").resolve(".young.tmp"), "half");
        cache.store(KEY + 1, image(1, 10));
        assertFalse(Files.exists(old));
        assertTrue(Files.exists(young), "another process may be writing it");
    }

    @Test
    void aCacheThatCannotBeWrittenCostsNothingButTime() throws IOException {
        Path blocked = Files.writeString(dir.resolve("file"), "not a folder");
        CubinCache cache = new CubinCache(blocked.resolve("cache"), 1 << 20);
        cache.store(KEY, image(1, 10));
        assertTrue(cache.load(KEY).isEmpty());
        CubinCache off = new CubinCache(null, 0);
        off.store(KEY, image(1, 10));
        assertTrue(off.load(KEY).isEmpty());
    }

    @Test
    void theFolderFollowsPropertyThenEnvironmentThenHome() {
        assertEquals(
                Optional.empty(), CubinCache.standard("off", "/x", "/home/a").folder());
        assertEquals(
                Optional.of(Path.of("/own")),
                CubinCache.standard("/own", "/x", "/home/a").folder());
        assertEquals(
                Optional.of(Path.of("/x/lram/cubin")),
                CubinCache.standard(null, "/x", "/home/a").folder());
        assertEquals(
                Optional.of(Path.of("/home/a/.cache/lram/cubin")),
                CubinCache.standard(null, "", "/home/a").folder());
        assertEquals(Optional.empty(), CubinCache.standard(null, null, "?").folder());
    }

    /** Two processes store and read the same keys at once; no reader ever sees anything but a whole image. */
    @Test
    void twoProcessesShareAFolder() throws IOException, InterruptedException {
        List<Process> processes = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            processes.add(new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-cp",
                            System.getProperty("java.class.path"),
                            Worker.class.getName(),
                            dir.resolve("cache").toString())
                    .redirectErrorStream(true)
                    .redirectOutput(new File(dir.toFile(), "log" + i))
                    .start());
        }
        for (int i = 0; i < 2; i++) {
            assertTrue(processes.get(i).waitFor(2, TimeUnit.MINUTES), "still running");
            String log = Files.readString(dir.resolve("log" + i));
            assertEquals(0, processes.get(i).exitValue(), log);
            assertFalse(log.contains("damaged"), log);
        }
    }

    static final class Worker {
        private static final int KEYS = 4;

        public static void main(String[] args) {
            CubinCache cache = new CubinCache(Path.of(args[0]), 6 * 20_048L);
            for (int round = 0; round < 60; round++) {
                for (int k = 0; k < KEYS; k++) {
                    byte[] want = image(k, 20_000);
                    Optional<byte[]> got = cache.load(KEY + k);
                    if (got.isPresent() && !Arrays.equals(want, got.get())) {
                        throw new AssertionError("key " + k + " in round " + round);
                    }
                    cache.store(KEY + k, want);
                }
            }
        }
    }

    @Test
    void theKeyHoldsEverythingThatDecidesTheResult() {
        KernelSource source = KernelSource.load("norm");
        ScriptedNvrtc nvrtc = new ScriptedNvrtc();
        byte[] first = compile(nvrtc, "sm_90a", source, List.of());
        assertEquals(1, nvrtc.compiled.size());
        assertArrayEquals(first, compile(nvrtc, "sm_90a", source, List.of()));
        assertEquals(1, nvrtc.compiled.size(), "the same again comes from the cache");
        assertFalse(Arrays.equals(first, compile(nvrtc, "sm_80", source, List.of())));
        assertEquals(2, nvrtc.compiled.size(), "another device");
        compile(nvrtc, "sm_90a", source, List.of("LRAM_X=1"));
        assertEquals(3, nvrtc.compiled.size(), "another option");
        compile(nvrtc, "sm_90a", new KernelSource("norm", source.text() + " ", source.headers()), List.of());
        assertEquals(4, nvrtc.compiled.size(), "another source");
        SequencedMap<String, String> headers = new LinkedHashMap<>(source.headers());
        headers.merge("lram_common.cuh", " ", String::concat);
        compile(nvrtc, "sm_90a", new KernelSource("norm", source.text(), headers), List.of());
        assertEquals(5, nvrtc.compiled.size(), "another header");
        nvrtc.minor = 1;
        compile(nvrtc, "sm_90a", source, List.of());
        assertEquals(6, nvrtc.compiled.size(), "another compiler");
    }

    private byte[] compile(ScriptedNvrtc nvrtc, String architecture, KernelSource source, List<String> defines) {
        return new KernelCompiler(nvrtc, architecture, null, cache(1 << 20)).compile(source, defines);
    }
}
