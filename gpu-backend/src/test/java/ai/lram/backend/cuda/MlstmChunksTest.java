package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.DType;
import ai.lram.backend.ops.MlstmDims;
import ai.lram.backend.ops.MlstmSpec;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class MlstmChunksTest {
    private static final MlstmSpec SPEC = MlstmSpec.exponential();

    private static Device device(int capability, int sharedKilobytes) {
        return new Device(
                0,
                0,
                "a GPU",
                capability / 10,
                capability % 10,
                132,
                1L << 36,
                50 << 20,
                sharedKilobytes << 10,
                true,
                13000);
    }

    private static TensorCoreLimits limits(DType type) {
        return TensorCoreLimits.of(device(90, 227), type, true, true);
    }

    /** The figures beside the kernels: 225 and 180 KiB, 163 KiB and 99 KiB, 223 and 214 KiB. */
    @Test
    void sharedMemoryIsWhatTheSourcesSay() {
        assertEquals(229_936, TensorCoreLimits.backwardSharedBytes(10, 64, false));
        assertEquals(184_976, TensorCoreLimits.backwardSharedBytes(8, 64, true));
        assertTrue(TensorCoreLimits.backwardSharedBytes(6, 64, false) <= 163 << 10);
        assertTrue(TensorCoreLimits.backwardSharedBytes(5, 64, false) <= 99 << 10);
        assertEquals(228_096, TensorCoreLimits.backwardKeptSharedBytes());
        assertEquals(218_832, TensorCoreLimits.backwardLeanSharedBytes());
        assertEquals(66_560, TensorCoreLimits.warpgroupStatesSharedBytes());
        assertEquals(65_376, new TensorCoreLimits.Tiling(5, 10, 2, 3).sharedBytes(0, false));
    }

    @ParameterizedTest(name = "{0}, capability {1} with {2} KiB: window {3}, chunk {4}")
    @CsvSource({
        "BF16,90,227,160,128",
        "BF16,100,227,160,128",
        "BF16,80,163,128,96",
        "BF16,86,99,64,64",
        "F32,90,227,96,96",
        "F32,80,163,96,96",
        "F32,86,99,64,64"
    })
    void chunksAreAsLongAsSharedMemoryAllows(DType type, int capability, int kilobytes, int window, int chunk) {
        TensorCoreLimits l = TensorCoreLimits.of(device(capability, kilobytes), type, true, true);
        assertEquals(window, l.window());
        assertEquals(chunk, l.chunk());
        assertEquals(type == DType.BF16 && capability == 90, l.warpgroups());
    }

    @Test
    void smallOrOldDevicesHaveNone() {
        assertEquals(null, TensorCoreLimits.of(device(75, 64), DType.BF16, true, true));
        assertEquals(null, TensorCoreLimits.of(device(86, 48), DType.BF16, true, true));
    }

    @Test
    void headsMustBeWholeVectors() {
        assertTrue(limits(DType.BF16).take(new MlstmDims(1, 1, 1, 72, 200)));
        assertFalse(limits(DType.BF16).take(new MlstmDims(1, 1, 1, 72, 204)));
        assertTrue(limits(DType.F32).take(new MlstmDims(1, 1, 1, 72, 204)));
        assertFalse(limits(DType.F32).take(new MlstmDims(1, 1, 1, 4100, 4)));
    }

    @ParameterizedTest(name = "S={0} chunk={1} states={2}: {3} x {4}")
    @CsvSource({
        "150,0,false,150,1,true",
        "150,150,false,150,1,true",
        "150,149,false,128,2,false",
        "150,0,true,128,2,false",
        "100,0,true,100,1,false",
        "100,7,true,7,15,false",
        "8192,0,false,128,64,false",
        "8192,4096,false,128,64,false",
        "1,0,false,1,1,true"
    })
    void sequencesAreCut(int tokens, int wanted, boolean states, int chunk, int chunks, boolean window) {
        MlstmChunks c =
                MlstmChunks.of(limits(DType.BF16), new MlstmDims(2, tokens, 4, 64, 64), SPEC.withChunk(wanted), states);
        assertEquals(chunk, c.chunk());
        assertEquals(chunks, c.chunks());
        assertEquals(window, c.window());
    }

    /** 65,536 tokens of 8 heads of 256/512: 4096 states of 256 KiB. */
    @Test
    void memoryFollowsTheFormula() {
        MlstmChunks c = MlstmChunks.of(limits(DType.BF16), new MlstmDims(8, 8192, 8, 256, 512), SPEC, false);
        long slots = 4096;
        long tokens = 524_288;
        assertEquals(slots * (65_536 + 256 + 2) + tokens, c.savedFloats());
        assertEquals(64 + slots * (65_536 + 256 + 7) + 4 * tokens + 64, c.scratchFloats());
        MlstmChunks window = MlstmChunks.of(limits(DType.BF16), new MlstmDims(128, 150, 4, 640, 640), SPEC, false);
        assertEquals(128 * 150 * 4, window.savedFloats());
        assertEquals(0, window.scratchFloats());
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void placesDoNotOverlapAndStayInside(boolean kept) {
        for (DType type : List.of(DType.BF16, DType.F32)) {
            MlstmChunks c = MlstmChunks.of(limits(type), new MlstmDims(3, 77, 5, 24, 40), SPEC.withChunk(10), true);
            long saved = kept ? 1L << 40 : 0;
            long scratch = (1L << 20) + 4;
            MlstmChunks.Places p = c.places(saved, scratch);
            long states = c.slots() * 24 * 40 * type.bytes();
            long normalisers = 4 * c.slots() * 24;
            long scratchEnd = scratch + 4 * c.scratchFloats();
            long[][] parts = {
                {p.own(), 16 * c.slots()},
                {p.free(), states},
                {p.freeN(), normalisers},
                {p.rows(), 16 * c.tokens()},
                {p.factors(), 4 * c.slots()},
                {p.straight(), 4 * c.pairs()},
                {p.statesM(), 4 * c.slots()},
                {p.decays(), 4 * c.slots()},
                {kept ? p.states() : 0, kept ? states : 0},
                {kept ? p.statesN() : 0, kept ? normalisers : 0},
                {p.denominators(), kept ? 4 * c.tokens() : 0}
            };
            for (int a = 0; a < parts.length; a++) {
                boolean inSaved = kept && a > 5;
                long from = inSaved ? saved : scratch;
                long to = inSaved ? saved + 4 * c.savedFloats() : scratchEnd;
                assertTrue(
                        parts[a][1] == 0 || parts[a][0] >= from && parts[a][0] + parts[a][1] <= to,
                        "part " + a + " of " + type);
                for (int b = 0; b < a; b++) {
                    assertTrue(
                            parts[a][0] + parts[a][1] <= parts[b][0] || parts[b][0] + parts[b][1] <= parts[a][0],
                            a + " and " + b + " of " + type);
                }
            }
            assertEquals(0, p.states() % 16);
            assertEquals(0, p.statesN() % 16);
            assertEquals(0, p.own() % 8);
        }
    }
}
