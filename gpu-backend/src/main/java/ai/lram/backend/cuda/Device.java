package ai.lram.backend.cuda;

import java.nio.charset.StandardCharsets;
import java.util.Locale;

/**
 * One GPU as the driver describes it.
 *
 * @param ordinal position among the devices that CUDA_VISIBLE_DEVICES leaves
 * @param handle the driver's own number
 * @param major compute capability
 * @param sharedBytes shared memory a block can have when it asks for it
 * @param cooperative whether it can keep the blocks of a launch on it at once
 * @param driver newest CUDA version the driver speaks, 13000 for 13.0
 */
record Device(
        int ordinal,
        int handle,
        String name,
        int major,
        int minor,
        int multiprocessors,
        long memoryBytes,
        int l2Bytes,
        int sharedBytes,
        boolean cooperative,
        int driver) {
    static final int MULTIPROCESSORS = 16;
    static final int L2_BYTES = 38;
    static final int MAJOR = 75;
    static final int MINOR = 76;
    static final int COOPERATIVE = 95;
    static final int SHARED_BYTES = 97;

    static Device read(Driver driver, int ordinal) {
        int[] version = new int[1];
        Status.check(driver, driver.driverVersion(version), "asking for the driver's version");
        int[] handle = new int[1];
        Status.check(driver, driver.device(handle, ordinal), "opening CUDA device " + ordinal);
        byte[] name = new byte[256];
        Status.check(driver, driver.deviceName(name, handle[0]), "asking for the name of CUDA device " + ordinal);
        long[] memory = new long[1];
        Status.check(driver, driver.totalMemory(memory, handle[0]), "asking for the memory of CUDA device " + ordinal);
        return new Device(
                ordinal,
                handle[0],
                text(name),
                attribute(driver, handle[0], MAJOR),
                attribute(driver, handle[0], MINOR),
                attribute(driver, handle[0], MULTIPROCESSORS),
                memory[0],
                attribute(driver, handle[0], L2_BYTES),
                attribute(driver, handle[0], SHARED_BYTES),
                attribute(driver, handle[0], COOPERATIVE) != 0,
                version[0]);
    }

    private static int attribute(Driver driver, int device, int attribute) {
        int[] value = new int[1];
        Status.check(
                driver, driver.deviceAttribute(value, attribute, device), "asking for device attribute " + attribute);
        return value[0];
    }

    /** A zero-terminated text. */
    static String text(byte[] bytes) {
        int n = 0;
        while (n < bytes.length && bytes[n] != 0) {
            n++;
        }
        return new String(bytes, 0, n, StandardCharsets.UTF_8);
    }

    /** 90 for compute capability 9.0. */
    int capability() {
        return 10 * major + minor;
    }

    /** NVRTC's name of the machine code: Hopper's own instructions need the {@code a}. */
    String architecture() {
        return "sm_" + capability() + (capability() == 90 ? "a" : "");
    }

    @Override
    public String toString() {
        return String.format(
                Locale.ROOT,
                "%s, compute capability %d.%d, %d multiprocessors, %.1f GiB, driver for CUDA %s",
                name,
                major,
                minor,
                multiprocessors,
                memoryBytes / (double) (1L << 30),
                version(driver));
    }

    /** 13.0 for 13000. */
    static String version(int cuda) {
        return cuda / 1000 + "." + cuda % 1000 / 10;
    }
}
