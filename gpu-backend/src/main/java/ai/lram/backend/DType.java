package ai.lram.backend;

/** Element types. Arithmetic is fp32 unless a kernel says otherwise; the narrow types are storage. */
public enum DType {
    F32(4),
    BF16(2),
    F16(2),
    I32(4),
    I8(1),
    U8(1);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** Size of one element in bytes. */
    public int bytes() {
        return bytes;
    }
}
