//! Makes the stubs of the contract. protox compiles .proto files in Rust, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../..";
    let folders = [
        format!("{root}/protos"),
        format!("{root}/third_party/googleapis"),
    ];
    println!("cargo:rerun-if-changed={}", folders[0]);
    let files = protox::compile(["tokenstreaming/v1/token_stream.proto"], &folders)?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(files)?;
    Ok(())
}
