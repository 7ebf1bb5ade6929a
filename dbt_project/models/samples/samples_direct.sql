{{ list_samples('direct') }}
