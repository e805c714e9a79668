package ai.lram.backend.cuda;

import ai.lram.backend.BackendException;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.DeviceLostException;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.KernelLaunchException;
import ai.lram.backend.UnsupportedKernelException;

/** Which typed error a status code of NVIDIA's libraries is. */
final class Status {
    static final int OUT_OF_MEMORY = 2;
    static final int STUB_LIBRARY = 34;
    static final int INSUFFICIENT_DRIVER = 36;
    static final int DEVICE_UNAVAILABLE = 46;
    static final int NO_DEVICE = 100;
    static final int INVALID_DEVICE = 101;
    static final int OPERATING_SYSTEM = 304;
    static final int SYSTEM_NOT_READY = 802;
    static final int DRIVER_MISMATCH = 803;
    static final int COMPAT_NOT_SUPPORTED = 804;
    static final int UNKNOWN = 999;

    private Status() {}

    /** What a status of the driver means for the engine. */
    enum Kind {
        /** No memory: nothing was allocated, a smaller request may succeed. */
        MEMORY,
        /** The context is broken for good. */
        LOST,
        /** The machine does not offer what the engine needs. */
        UNAVAILABLE,
        /** This call failed; the context lives. */
        CALL
    }

    static Kind kind(int status) {
        return switch (status) {
            case OUT_OF_MEMORY -> Kind.MEMORY;
            case 4, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, UNKNOWN ->
                Kind.LOST;
            case 3,
                    STUB_LIBRARY,
                    INSUFFICIENT_DRIVER,
                    DEVICE_UNAVAILABLE,
                    NO_DEVICE,
                    INVALID_DEVICE,
                    102,
                    OPERATING_SYSTEM,
                    800,
                    SYSTEM_NOT_READY,
                    DRIVER_MISMATCH,
                    COMPAT_NOT_SUPPORTED,
                    805,
                    806,
                    807,
                    808,
                    809 -> Kind.UNAVAILABLE;
            default -> Kind.CALL;
        };
    }

    /** Throws unless {@code status} is success. */
    static void check(Driver driver, int status, String what) {
        if (status != Driver.SUCCESS) {
            throw driverError(driver, status, what);
        }
    }

    static BackendException driverError(Driver driver, int status, String what) {
        String why = "the driver answered " + driver.statusName(status) + " (" + status + ")";
        return switch (kind(status)) {
            case MEMORY ->
                new DeviceOutOfMemoryException(
                        what, why, "use a smaller model, batch or number of slots, or end what else uses the device");
            case LOST ->
                new DeviceLostException(
                        what,
                        why,
                        "open a new engine in a new process; if it happens again, look at the kernel log (dmesg) for Xid errors");
            case UNAVAILABLE -> new BackendUnavailableException(what, why, "run lram doctor, or choose device=cpu");
            case CALL ->
                new KernelLaunchException(
                        what, why, "report it with the device, the driver's version and the sizes of the model");
        };
    }

    static void checkNvrtc(Nvrtc nvrtc, int status, String what) {
        if (status != Nvrtc.SUCCESS) {
            throw new KernelLaunchException(
                    what,
                    "NVRTC answered " + nvrtc.statusName(status) + " (" + status + ")",
                    "check that libnvrtc and libnvrtc-builtins come from one CUDA 13 toolkit");
        }
    }

    /** cuBLASLt: 3 is a failed allocation, 15 a product it has no algorithm for, 13 and 14 failures on the device. */
    static void checkCublas(int status, String what) {
        switch (status) {
            case CublasLt.SUCCESS -> {
                return;
            }
            case 3 ->
                throw new DeviceOutOfMemoryException(
                        what, "cuBLASLt answered ALLOC_FAILED (3)", "use a smaller model or batch");
            case 13 ->
                throw new DeviceLostException(
                        what,
                        "cuBLASLt answered EXECUTION_FAILED (13)",
                        "open a new engine in a new process; look at the kernel log (dmesg) for Xid errors");
            case 15 ->
                throw new UnsupportedKernelException(
                        what, "cuBLASLt answered NOT_SUPPORTED (15)", "use other sizes, or choose device=cpu");
            default ->
                throw new KernelLaunchException(
                        what,
                        "cuBLASLt answered status " + status,
                        "check that libcublasLt comes from a CUDA 13 toolkit, and report the sizes of the model");
        }
    }
}
