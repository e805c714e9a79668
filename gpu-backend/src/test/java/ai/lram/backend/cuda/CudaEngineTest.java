package ai.lram.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.ArenaClosedException;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendException;
import ai.lram.backend.BackendException.Severity;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.KernelLaunchException;
import ai.lram.backend.Replay;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.ops.Activation;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Memory, threads, errors and endings of the engine, over a driver that answers as told. */
class CudaEngineTest {
    private final ScriptedDriver driver = new ScriptedDriver();
    private final ScriptedNvrtc nvrtc = new ScriptedNvrtc();
    private final ScriptedCublasLt cublas = new ScriptedCublasLt();

    private CudaBackend open() {
        return new CudaBackend(
                driver, nvrtc, cublas, Device.read(driver, 0), null, new CubinCache(null, 0), Optional.empty());
    }

    /** Whatever a test did, closing gives back all that was taken. */
    @AfterEach
    void nothingIsLeft() {
        assertEquals(Map.of(), driver.leaks());
        assertEquals(Map.of(), cublas.live);
        assertEquals(Map.of(), nvrtc.live);
    }

    @Test
    void openingAndClosingLeavesNothing() {
        CudaBackend engine = open();
        assertEquals("cuda:0", engine.name());
        assertTrue(engine.describe().contains("Scripted GPU, compute capability 9.0"), engine.describe());
        assertTrue(engine.describe().contains("products in fp32, of many sessions in fp16,"), engine.describe());
        assertSame(engine, engine.stream().backend());
        assertFalse(driver.leaks().isEmpty());
        engine.close();
        engine.close();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "retainPrimaryContext",
                "setCurrentContext",
                "createStream",
                "allocate",
                "fillBytes",
                "allocatePinned",
                "deviceAddressOfPinned",
                "createEvent",
                "loadModule",
                "function",
                "setFunctionAttribute"
            })
    void aFailureWhileOpeningGivesBackWhatWasTaken(String call) {
        driver.answers.put(call, 1);
        assertThrows(KernelLaunchException.class, this::open, call);
        driver.answers.clear();
    }

    @Test
    void noMemoryForTheWorkSpaceIsTheTypedError() {
        driver.answers.put("allocate", 2);
        DeviceOutOfMemoryException e = assertThrows(DeviceOutOfMemoryException.class, this::open);
        assertTrue(e.getMessage().contains("bytes are free"), e.getMessage());
    }

    @Test
    void theDeviceThreadOwnsContextMemoryAndModules() {
        Thread main = Thread.currentThread();
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            arena.f32(3);
            for (String call : new String[] {"retainPrimaryContext", "allocate", "allocatePinned", "loadModule"}) {
                assertEquals("cuda:0", driver.callers.get(call).getName(), call);
            }
            engine.ops().elementwise().fill(engine.stream(), 1, arena.f32(2));
            assertSame(main, driver.callers.get("launch"), "kernels are queued by their caller");
        }
        assertEquals("cuda:0", driver.callers.get("releasePrimaryContext").getName());
        assertEquals("cuda:0", driver.callers.get("free").getName());
    }

    @Test
    void aThreadEntersTheContextOnceUntilItQueuesElsewhere() throws InterruptedException {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            Tensor t = arena.f32(2);
            driver.calls.clear();
            for (int i = 0; i < 3; i++) {
                engine.ops().elementwise().fill(engine.stream(), 1, t);
            }
            assertEquals(1, entries());
            Thread other =
                    Thread.ofPlatform().start(() -> engine.ops().elementwise().fill(engine.stream(), 1, t));
            other.join();
            engine.ops().elementwise().fill(engine.stream(), 1, t);
            assertEquals(2, entries(), "each thread has entered");
            ScriptedDriver otherDriver = new ScriptedDriver();
            try (CudaBackend beside = new CudaBackend(
                            otherDriver,
                            nvrtc,
                            new ScriptedCublasLt(),
                            Device.read(otherDriver, 0),
                            null,
                            new CubinCache(null, 0),
                            Optional.empty());
                    TensorArena arenaBeside = beside.arena("beside")) {
                beside.ops().elementwise().fill(beside.stream(), 1, arenaBeside.f32(1));
                engine.ops().elementwise().fill(engine.stream(), 1, t);
                assertEquals(3, entries(), "the other engine's context was entered meanwhile");
            }
        }
    }

    private long entries() {
        return driver.calls.stream().filter("setCurrentContext"::equals).count();
    }

    @Test
    void aVirtualThreadMayTakeMemoryButNotQueue() throws InterruptedException {
        try (CudaBackend engine = open()) {
            AtomicReference<Throwable> seen = new AtomicReference<>();
            Thread.ofVirtual()
                    .start(() -> {
                        try (TensorArena arena = engine.arena("virtual")) {
                            Tensor t = arena.f32(2);
                            engine.ops().elementwise().fill(engine.stream(), 1, t);
                        } catch (BackendException e) {
                            seen.set(e);
                        }
                    })
                    .join();
            assertInstanceOf(KernelLaunchException.class, seen.get());
            assertTrue(
                    seen.get().getMessage().contains("platform thread"),
                    seen.get().getMessage());
        }
    }

    @Test
    void tensorsAreAlignedZeroDistinctAndStable() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            long last = 0;
            for (int i = 1; i < 40; i++) {
                Tensor t = arena.allocate(DType.U8, i);
                assertEquals(0, t.address() % CudaArena.ALIGNMENT);
                assertNotEquals(last, t.address());
                assertFalse(t.isHost());
                last = t.address();
            }
            assertEquals(39L * 40 / 2, arena.liveBytes());
            Tensor t = arena.f32(100);
            assertArrayEquals(new float[100], read(engine, t));
        }
    }

    @Test
    void aLargeTensorGetsASlabOfItsOwn() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            long before = driver.allocatedBlocks();
            Tensor small = arena.f32(4);
            Tensor large = arena.f32((int) (CudaArena.LARGEST_SLAB / 4 + 1));
            Tensor next = arena.f32(4);
            assertEquals(before + 2, driver.allocatedBlocks());
            assertEquals(small.address() + CudaArena.ALIGNMENT, next.address(), "the first slab goes on being used");
            assertTrue(large.bytes() > CudaArena.LARGEST_SLAB);
        }
    }

    @Test
    void dumpShowsTheTreeAndClosingFreesChildrenFirst() {
        try (CudaBackend engine = open()) {
            long before = driver.allocatedBlocks();
            TensorArena model = engine.arena("model");
            TensorArena session = model.child("session");
            model.f32(10);
            Tensor t = session.f32(6);
            assertEquals(64, model.liveBytes());
            assertEquals(
                    "model 40 bytes (1 slabs, 1048576 bytes taken)\n"
                            + "  session 24 bytes (1 slabs, 1048576 bytes taken)\n",
                    model.dump());
            model.close();
            assertEquals(before, driver.allocatedBlocks());
            assertEquals(0, model.liveBytes());
            assertThrows(ArenaClosedException.class, () -> session.f32(1));
            ArenaClosedException e = assertThrows(
                    ArenaClosedException.class,
                    () -> engine.ops().elementwise().fill(engine.stream(), 1, t.slice(0, 2)));
            assertTrue(e.getMessage().contains("arena"), e.getMessage());
            model.close();
            session.close();
        }
    }

    @Test
    void outOfMemoryNamesTheArenaAndTakesNothing() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("big model")) {
            arena.f32(8);
            driver.answers.put("allocate", 2);
            DeviceOutOfMemoryException e = assertThrows(DeviceOutOfMemoryException.class, () -> arena.f32(64 << 20));
            assertTrue(e.getMessage().contains("arena big model"), e.getMessage());
            assertTrue(e.getMessage().contains("live now: 32 bytes"), e.getMessage());
            assertEquals(Severity.DEGRADE, e.severity());
            assertEquals(32, arena.liveBytes());
            driver.answers.clear();
            arena.f32(64 << 20);
        }
    }

    @Test
    void hostVisibleMemoryIsAddressedByBothSidesUntilItsArenaEnds() {
        try (CudaBackend engine = open()) {
            long before = driver.allocatedBlocks();
            TensorArena arena = engine.arena("step");
            Tensor t = arena.hostVisible(DType.F32, 2, 3);
            assertTrue(t.isHostVisible());
            assertFalse(t.isHost(), "kernels of the device take it");
            assertArrayEquals(new float[6], t.toFloatArray());
            assertEquals(24, arena.liveBytes());
            t.slice(1, 1).copyFrom(new float[] {4, 5, 6});
            assertArrayEquals(new float[] {0, 0, 0, 4, 5, 6}, read(engine, t));
            assertEquals(7, t.carve(DType.I32, 8, 1).copyFrom(new int[] {7}).getInt(0));
            engine.ops().elementwise().fill(engine.stream(), 1, t);
            assertEquals(3, driver.pinnedFlags, "portable and mapped");
            Tensor view = t.slice(0, 1);
            arena.close();
            assertEquals(before, driver.allocatedBlocks());
            assertThrows(ArenaClosedException.class, view::segment);
            assertThrows(
                    ArenaClosedException.class, () -> engine.ops().elementwise().fill(engine.stream(), 1, view));
            assertThrows(ArenaClosedException.class, () -> arena.hostVisible(DType.F32, 1));
        }
    }

    @Test
    void hostVisibleMemoryThatCannotBeTakenIsTheTypedErrorAndTakesNothing() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("step")) {
            long before = driver.allocatedBlocks();
            driver.answers.put("allocatePinned", 2);
            DeviceOutOfMemoryException e =
                    assertThrows(DeviceOutOfMemoryException.class, () -> arena.hostVisible(DType.F32, 9));
            assertTrue(e.getMessage().contains("arena step"), e.getMessage());
            driver.answers.clear();
            driver.answers.put("deviceAddressOfPinned", 1);
            assertThrows(KernelLaunchException.class, () -> arena.hostVisible(DType.F32, 9));
            assertEquals(before, driver.allocatedBlocks());
            assertEquals(0, arena.liveBytes());
            driver.answers.clear();
            arena.hostVisible(DType.F32, 9);
        }
    }

    @Test
    void memoryThatCannotBeClearedIsGivenBack() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            long before = driver.allocatedBlocks();
            driver.answers.put("fillBytes", 1);
            assertThrows(KernelLaunchException.class, () -> arena.f32(8));
            assertEquals(before, driver.allocatedBlocks());
            driver.answers.clear();
        }
    }

    @Test
    void freeMemoryIsWhatTheDriverSays() {
        driver.freeBytes = 12345;
        CudaBackend engine = open();
        assertEquals(12345, engine.freeBytes().orElseThrow());
        engine.close();
        assertThrows(DeviceLostException.class, engine::freeBytes);
        try (Backend cpu = Backends.open("cpu", BackendOptions.threads(1))) {
            assertTrue(cpu.freeBytes().isEmpty());
        }
    }

    @Test
    void anArenaLeftOpenEndsWithTheEngine() {
        CudaBackend engine = open();
        Tensor t = engine.arena("forgotten").f32(3);
        engine.close();
        assertThrows(ArenaClosedException.class, t::requireAlive);
        assertThrows(
                DeviceLostException.class, () -> engine.arena("late").f32(1), "a closed engine has no memory to give");
    }

    private static float[] read(CudaBackend engine, Tensor t) {
        try (Arena host = Arena.ofConfined()) {
            MemorySegment m = host.allocate(t.bytes(), 64);
            engine.download(engine.stream(), t, m);
            engine.stream().synchronize();
            return m.toArray(ValueLayout.JAVA_FLOAT);
        }
    }

    /** More than both halves of the staging memory hold, so that they are reused several times. */
    @Test
    void largeCopiesPassThroughTheStagingMemory() {
        int n = (int) (5 * Staging.HALF / 4 / 4) * 3 + 17;
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test");
                Arena host = Arena.ofConfined()) {
            Tensor t = arena.f32(n);
            MemorySegment out = host.allocate(4L * n, 64);
            Random random = new Random(1);
            for (int i = 0; i < n; i++) {
                out.setAtIndex(ValueLayout.JAVA_FLOAT, i, random.nextFloat());
            }
            engine.upload(engine.stream(), t, out);
            MemorySegment back = host.allocate(4L * n, 64);
            engine.download(engine.stream(), t, back);
            engine.stream().synchronize();
            assertEquals(-1, out.mismatch(back));
            assertTrue(driver.calls.contains("synchronizeEvent"), "a half was waited for");
        }
    }

    @Test
    void manySmallDownloadsArriveWhereTheyBelong() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test");
                Arena host = Arena.ofConfined()) {
            int n = 5000;
            Tensor t = arena.f32(n);
            MemorySegment out = host.allocate(4L * n, 64);
            for (int i = 0; i < n; i++) {
                out.setAtIndex(ValueLayout.JAVA_FLOAT, i, i);
            }
            engine.upload(engine.stream(), t, out);
            MemorySegment back = host.allocate(4L * n, 64);
            for (int i = 0; i < n; i++) {
                engine.download(engine.stream(), t.view(i, 1), back.asSlice(4L * i, 4));
            }
            engine.stream().synchronize();
            assertEquals(-1, out.mismatch(back));
        }
    }

    @Test
    void copiesOfTheWrongSizeOrPlaceAreRefused() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test");
                Arena host = Arena.ofConfined()) {
            Tensor t = arena.f32(4);
            Tensor onHost = Tensor.host(DType.F32, host.allocate(16), 4);
            MemorySegment right = host.allocate(16);
            assertThrows(ShapeMismatchException.class, () -> engine.upload(engine.stream(), t, host.allocate(12)));
            assertThrows(ShapeMismatchException.class, () -> engine.upload(engine.stream(), onHost, right));
            assertThrows(
                    ShapeMismatchException.class,
                    () -> engine.download(engine.stream(), t, MemorySegment.ofArray(new float[4])));
            assertThrows(
                    ShapeMismatchException.class,
                    () -> engine.ops().elementwise().fill(engine.stream(), 0, onHost));
        }
    }

    @Test
    void aLostDeviceStaysLost() {
        CudaBackend engine = open();
        TensorArena arena = engine.arena("test");
        Tensor t = arena.f32(4);
        driver.answers.put("synchronizeStream", 700);
        DeviceLostException first =
                assertThrows(DeviceLostException.class, () -> engine.stream().synchronize());
        assertEquals(Severity.STOP, first.severity());
        assertTrue(first.getMessage().contains("STATUS_700"), first.getMessage());
        driver.answers.clear();
        DeviceLostException second = assertThrows(
                DeviceLostException.class, () -> engine.ops().elementwise().fill(engine.stream(), 1, t));
        assertSame(first, second.getCause());
        assertThrows(DeviceLostException.class, () -> arena.f32(1 << 20));
        engine.close();
    }

    @Test
    void aFailedLaunchIsNamedAndLeavesTheEngineUsable() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            Tensor t = arena.f32(4);
            driver.answers.put("launch", 701);
            KernelLaunchException e = assertThrows(
                    KernelLaunchException.class,
                    () -> engine.ops().elementwise().fill(engine.stream(), 1, t));
            assertTrue(e.getMessage().startsWith("fill;"), e.getMessage());
            driver.answers.clear();
            engine.ops().elementwise().fill(engine.stream(), 1, t);
        }
    }

    @Test
    void closingNeverThrows() {
        CudaBackend engine = open();
        engine.arena("test").f32(4);
        for (String call : new String[] {"destroyStream", "destroyEvent"}) {
            driver.answers.put(call, 1);
        }
        engine.close();
        driver.answers.clear();
        driver.live.clear();
    }

    @Test
    void productsAskForTheirAlgorithmOncePerShape() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            Tensor x = arena.f32(40, 8);
            Tensor w = arena.f32(6, 8);
            Tensor y = arena.f32(40, 6);
            for (int i = 0; i < 3; i++) {
                engine.ops().matmul().linear(engine.stream(), x, w, arena.f32(6), Activation.NONE, y);
            }
            assertEquals(1, cublas.heuristics);
            assertEquals(3, cublas.products);
            engine.ops().matmul().linear(engine.stream(), x, w, null, Activation.NONE, y);
            assertEquals(2, cublas.heuristics, "another epilogue is another product");
        }
    }

    @Test
    void aProductWithoutAnAlgorithmIsTheTypedError() {
        cublas.algorithms = 0;
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            BackendException e = assertThrows(UnsupportedKernelException.class, () -> engine.ops()
                    .matmul()
                    .linear(
                            engine.stream(),
                            arena.f32(40, 8),
                            arena.f32(6, 8),
                            null,
                            Activation.NONE,
                            arena.f32(40, 6)));
            assertTrue(e.getMessage().contains("linear"), e.getMessage());
            assertEquals(Severity.DEGRADE, e.severity());
        }
    }

    @Test
    @SuppressWarnings("try")
    void anOddPrecisionIsRefused() {
        try (Setting changed = Setting.of(Products.PROPERTY, "fp8")) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, this::open);
            assertTrue(e.getMessage().contains("fp32, tf32, bf16"), e.getMessage());
        }
    }

    @Test
    void whatARecordingCannotHoldIsRefusedAndTheStreamGoesOn() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test");
                Arena host = Arena.ofConfined()) {
            Tensor t = arena.f32(4);
            MemorySegment m = host.allocate(16);
            Replay finished = engine.stream().record(() -> {});
            Runnable[] wrong = {
                finished::finish,
                () -> engine.upload(engine.stream(), t, m),
                () -> engine.download(engine.stream(), t, m),
                () -> engine.stream().synchronize(),
                () -> engine.requireFinite(engine.stream(), "t", t),
                () -> engine.stream().record(() -> {})
            };
            for (Runnable work : wrong) {
                assertThrows(KernelLaunchException.class, () -> engine.stream().record(work));
            }
            engine.upload(engine.stream(), t, m);
            engine.stream().synchronize();
        }
    }

    @Test
    void aGraphThatCannotBeBuiltIsTheTypedError() {
        try (CudaBackend engine = open()) {
            driver.answers.put("instantiate", 2);
            assertThrows(DeviceOutOfMemoryException.class, () -> engine.stream().record(() -> {}));
            driver.answers.clear();
            driver.answers.put("endCapture", 901);
            assertThrows(KernelLaunchException.class, () -> engine.stream().record(() -> {}));
            driver.answers.clear();
        }
    }

    @Test
    void aRecordingEndsWithItsEngineAndIsNotRunAfterItsEnd() {
        CudaBackend engine = open();
        var closed = engine.stream().record(() -> {});
        closed.close();
        closed.close();
        assertThrows(KernelLaunchException.class, closed::run);
        var left = engine.stream().record(() -> {});
        left.run();
        engine.close();
        assertThrows(DeviceLostException.class, left::run);
        assertThrows(DeviceLostException.class, left::finish);
    }

    @Test
    void theEndOfAReplayIsLookedForUntilItIsThere() {
        try (CudaBackend engine = open();
                TensorArena arena = engine.arena("test");
                Arena host = Arena.ofConfined();
                Replay replay = engine.stream().record(() -> {})) {
            Tensor t = arena.f32(2);
            engine.ops().elementwise().fill(engine.stream(), 1, t);
            MemorySegment m = host.allocate(8);
            engine.download(engine.stream(), t, m);
            driver.calls.clear();
            driver.busyQueries = 3;
            replay.finish();
            assertEquals(
                    List.of("launchGraph", "queryStream", "queryStream", "queryStream", "queryStream"), driver.calls);
            driver.answers.put("queryStream", 700);
            assertThrows(DeviceLostException.class, replay::finish);
            driver.answers.clear();
        }
    }

    @Test
    void aReplayThatTakesLongIsWaitedForWithoutLooking() {
        try (CudaBackend engine = open();
                Replay replay = engine.stream().record(() -> {})) {
            driver.calls.clear();
            driver.busyQueries = Integer.MAX_VALUE;
            driver.tickNs = 5_000_000;
            replay.finish();
            assertEquals(
                    List.of(
                            "launchGraph",
                            "queryStream",
                            "queryStream",
                            "queryStream",
                            "queryStream",
                            "synchronizeStream"),
                    driver.calls);
        }
    }

    @Test
    @SuppressWarnings("try")
    void aReplayCanBeWaitedForInTheDriverAlone() {
        try (Setting changed = Setting.of(Engine.WAIT, "block");
                CudaBackend engine = open();
                Replay replay = engine.stream().record(() -> {})) {
            driver.calls.clear();
            replay.finish();
            assertEquals(List.of("launchGraph", "synchronizeStream"), driver.calls);
        }
        try (Setting changed = Setting.of(Engine.WAIT, "sleep")) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, this::open);
            assertTrue(e.getMessage().contains("spin and block"), e.getMessage());
        }
    }

    @ParameterizedTest(name = "compute capability {0}.0, {1}: {2}")
    @CsvSource({"9,on,true", "9,off,false", "8,on,false"})
    @SuppressWarnings("try")
    void kernelsThatWaitThemselvesBeginEarlyWhereTheDeviceCan(int major, String setting, boolean early) {
        driver.major = major;
        try (Setting changed = Setting.of(Engine.EARLY, setting);
                CudaBackend engine = open();
                TensorArena arena = engine.arena("test")) {
            Tensor token = arena.f32(1, 1, 1, 8);
            Tensor cache = arena.f32(1, 4, 1, 8);
            Tensor one = arena.i32(1);
            driver.calls.clear();
            engine.ops()
                    .attention()
                    .cachedStep(engine.stream(), one, one, token, token, token, cache, cache, one, token);
            assertEquals(early, driver.calls.contains("launchEarly"), driver.calls.toString());
        }
    }

    @Test
    void theProvidersAreRankedAndTheCpuIsTakenWhereThereIsNoDevice() {
        CudaBackendProvider cuda = new CudaBackendProvider();
        assertEquals("cuda", cuda.name());
        assertTrue(cuda.rank() > 0, "before the CPU");
        if (cuda.whyUnavailable().isPresent()) {
            BackendUnavailableException e =
                    assertThrows(BackendUnavailableException.class, () -> cuda.open(BackendOptions.defaults()));
            assertTrue(e.getMessage().contains("fix"), e.getMessage());
        }
    }
}
